#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace trireme {

// What a run is. Two runs with equal identities write the same output.
struct Manifest {
  nlohmann::ordered_json identity;  // content of the input, model, options that shape results, fingerprint, version
  nlohmann::ordered_json about;     // for people: paths, command line, layout, hosts, start
};

// OUT.jsonl.run/, the folder beside the output that holds all that a job keeps:
//   manifest.json   what the run is         status.json     where it stands, or why it ended
//   parts/          finished rows           timings/        of documents and steps
//   lock            held while a job runs   stdin           the input, when it came by standard input
//   fault.json      of another rank (launch/fault_note.h)
// Only rank 0 has one.
class RunFolder {
 public:
  // Locks the folder, made if absent. Throws Error(usage) for "-", Error(cannot_create) when OUT exists without its run
  // folder, when another job holds the folder (named), or when it cannot be made.
  explicit RunFolder(const std::string& out_path);

  enum class Start {
    fresh,             // no run of this manifest before, or it was dropped on request
    started_over,      // an incomplete run of this manifest was dropped: resuming comes with the journal
    already_complete,  // nothing to do; status() says how it ended
  };
  // Compares with the run that the folder holds, if any, and makes it this run's. Throws Error(configuration) with the
  // differences when that was another one, unless `restart`.
  Start begin(const Manifest& manifest, bool restart);

  // What decided the results of the run that the folder holds; null: there is none.
  nlohmann::json identity() const;

  // Copies standard input into the folder, so that the run can be repeated; a path that Corpus can open. Before
  // begin(), which keeps it; `path_of_stdin` is its place from then on.
  std::string spool_stdin(int fd = 0);
  std::string path_of_stdin() const { return path("stdin"); }

  std::string part_path() const { return path("parts/rank0.jsonl"); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  static std::string fault_path(const std::string& out_path) { return out_path + ".run/fault.json"; }

  bool status_due() const;  // the last one was written a second ago, or never
  // status.json, replaced as a whole.
  void write_status(const nlohmann::ordered_json& status, Durable durable);
  std::optional<nlohmann::json> status() const;  // of the run the folder holds; nothing when absent, {} when damaged

 private:
  bool complete() const;
  void clear_results();

  std::string out_path_;
  std::string folder_;
  File lock_;
  bool spooled_ = false;
  std::optional<std::chrono::steady_clock::time_point> status_written_;
};

// "model.digest: 1a2b before, 3c4d now", one a line; "" when equal.
std::string manifest_differences(const nlohmann::json& before, const nlohmann::json& now);

}  // namespace trireme
