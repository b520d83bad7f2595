#include "checkpoint/writer.h"

#include <mpi.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/h5.h"
#include "checkpoint/index.h"
#include "comm/shared_window.h"

namespace trireme {

namespace {

constexpr uint64_t kMetadataBlock = uint64_t{256}
                                    << 10;  // bytes: HDF5's own records stand together in blocks of this size
constexpr uint64_t kTensorMetadata = 8192;  // bytes of such records a tensor, at most (measured: about 5,000)

uint64_t part_bytes(const TensorInfo& t, int part) { return unit_bytes(t, part) * static_cast<uint64_t>(t.units); }

void check_space(const std::string& path, uint64_t needed) {
  std::string folder = folder_of(path);
  struct statvfs s {};
  if (statvfs(folder.c_str(), &s) != 0)
    fail(ExitCode::cannot_create, "cannot write {}: the folder {} cannot be used ({}); create it or choose another -o",
         path, folder, errno_text());
  uint64_t free = s.f_bavail * s.f_frsize;
  if (free < needed)
    fail(ExitCode::io_error,
         "cannot write {}: it needs {} MiB, but {} has {} MiB free; free space or choose another -o", path,
         (needed >> 20) + 1, folder, free >> 20);
}

// A checkpoint may be made again; whatever else stands there is somebody's, perhaps the very source.
void check_destination(const std::string& path) {
  std::error_code error;  // of what is not there: then nothing is lost
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return;
  if (std::filesystem::is_directory(status))
    fail(ExitCode::cannot_create, "cannot write {}: it is a folder; name a file in it: -o {}/MODEL.h5", path, path);
  if (!is_checkpoint(path))
    fail(ExitCode::cannot_create,
         "cannot write {}: it is there already, and is no Trireme checkpoint; move it away, or name another "
         "place with trireme convert -o",
         path);
}

// An upper bound of the index's length is known before its offsets are: checksums have a fixed width, offsets 19
// digits.
uint64_t user_block_bytes(Index index) {
  constexpr uint64_t longest = (uint64_t{1} << 62);
  for (Index::Blob& b : index.blobs) b.offset = longest;
  for (TensorInfo& t : index.tensors)
    for (TensorInfo::Part& p : t.parts) p.offset = longest;
  return std::bit_ceil(std::max<uint64_t>(sizeof(IndexHeader) + index_text(index).size(), kAlignment));
}

// The parts of a tensor as datasets: name, element, elements of one row of a unit.
struct PartShape {
  const char* name;
  DType type;
  int64_t row_elements;
};
PartShape part_shape(const TensorInfo& t, int part) {
  const WeightFormat& f = t.format;
  if (part > 0) return {part == 1 ? "scales" : "minimums", f.type, t.unit_columns / f.group};
  return f.quantized() ? PartShape{"codes", DType::u8, f.row_bytes(t.unit_columns)}
                       : PartShape{"values", f.type, t.unit_columns};
}

}  // namespace

struct CheckpointWriter::State {
  const WriterGroup& group;
  std::string path, temporary;
  H5Quiet quiet;
  Index index;
  std::vector<std::string> blob_texts;
  uint64_t block_bytes = 0, content_bytes = 0;
  int64_t units_written = 0;
  H5Object file;
  std::vector<std::array<H5Object, 3>> datasets;  // of each tensor
  bool finished = false;

  State(const WriterGroup& group_, const std::string& path_) : group(group_), path(path_) {}

  void prepare(const CheckpointContent& content);
  void create_file();
  H5Object create_dataset(const std::string& name, hid_t type, std::span<const hsize_t> dims, uint64_t* offset);
  void create_tensor(TensorInfo& t, std::array<H5Object, 3>& parts);
  void create_blob(Index::Blob& blob, const std::string& text);
  void abandon();
  void publish();
};

void CheckpointWriter::State::prepare(const CheckpointContent& content) {
  index.unit_formula = content.unit_formula;
  index.unit_group = content.unit_group;
  index.config = content.config;
  index.tensors = content.tensors;
  for (TensorInfo& t : index.tensors)
    for (int part = 0; part < 3; part++) {
      t.parts[part] = {0, unit_bytes(t, part), {}};
      if (t.parts[part].unit_bytes > 0) t.parts[part].checksums.assign(static_cast<size_t>(t.units), 0);
      content_bytes += part_bytes(t, part);
    }
  auto add = [this](const std::string& name, const std::string& text) {
    if (text.empty()) return;
    index.blobs.push_back({name, 0, text.size(), xxh3(text)});
    blob_texts.push_back(text);
    content_bytes += text.size();
  };
  add("config.json", content.config.dump(2) + "\n");
  for (const auto& [name, text] : content.blobs) add(name, text);
  block_bytes = user_block_bytes(index);
  // Two jobs may convert one model at once, from whatever hosts: each has a name of its own.
  temporary = fmt::format("{}.part-{}", path,
                          hex16(static_cast<uint64_t>(group.broadcast(static_cast<int64_t>(random_u64())))));
}

void CheckpointWriter::State::create_file() {
  const BoundedCall call = group.bounded("all ranks to create a checkpoint (HDF5)");
  H5Object access = h5_own(H5Pcreate(H5P_FILE_ACCESS), temporary, "creation");
  h5_check(H5Pset_fapl_mpio(access.id(), static_cast<MPI_Comm>(group.handle()), MPI_INFO_NULL), temporary, "creation");
  h5_check(H5Pset_all_coll_metadata_ops(access.id(), true), temporary, "creation");
  h5_check(H5Pset_coll_metadata_write(access.id(), true), temporary, "creation");
  h5_check(H5Pset_alignment(access.id(), kAlignedBytes, kAlignment), temporary, "creation");
  h5_check(H5Pset_meta_block_size(access.id(), kMetadataBlock), temporary, "creation");
  h5_check(H5Pset_libver_bounds(access.id(), H5F_LIBVER_EARLIEST, H5F_LIBVER_V18), temporary, "creation");
  H5Object creation = h5_own(H5Pcreate(H5P_FILE_CREATE), temporary, "creation");
  h5_check(H5Pset_userblock(creation.id(), block_bytes), temporary, "creation");
  file = h5_own(H5Fcreate(temporary.c_str(), H5F_ACC_TRUNC, creation.id(), access.id()), temporary, "creation");
  h5_attribute(file.id(), "schema_version", kIndexVersion, temporary);
  h5_attribute(file.id(), "unit_formula", index.unit_formula, temporary);
  h5_attribute(file.id(), "unit_group", index.unit_group, temporary);
  h5_attribute(file.id(), "producer", "trireme " TRIREME_VERSION, temporary);
  for (size_t i = 0; i < index.blobs.size(); i++) create_blob(index.blobs[i], blob_texts[i]);
  datasets.resize(index.tensors.size());
  for (size_t i = 0; i < index.tensors.size(); i++) create_tensor(index.tensors[i], datasets[i]);
}

// Contiguous, its space taken at once, so that the offset is known and no rank ever changes metadata again.
H5Object CheckpointWriter::State::create_dataset(const std::string& name, hid_t type, std::span<const hsize_t> dims,
                                                 uint64_t* offset) {
  H5Object creation = h5_own(H5Pcreate(H5P_DATASET_CREATE), temporary, name);
  h5_check(H5Pset_layout(creation.id(), H5D_CONTIGUOUS), temporary, name);
  h5_check(H5Pset_alloc_time(creation.id(), H5D_ALLOC_TIME_EARLY), temporary, name);
  h5_check(H5Pset_fill_time(creation.id(), H5D_FILL_TIME_NEVER), temporary, name);
  h5_check(H5Pset_obj_track_times(creation.id(), false), temporary, name);  // the same bytes tomorrow
  H5Object space = h5_own(
      dims.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
      temporary, name);
  H5Object links = h5_own(H5Pcreate(H5P_LINK_CREATE), temporary, name);
  h5_check(H5Pset_create_intermediate_group(links.id(), 1), temporary, name);
  H5Object dataset = h5_own(
      H5Dcreate2(file.id(), name.c_str(), type, space.id(), links.id(), creation.id(), H5P_DEFAULT), temporary, name);
  haddr_t address = H5Dget_offset(dataset.id());
  if (address == HADDR_UNDEF) h5_check(-1, temporary, name);
  *offset = address;
  return dataset;
}

void CheckpointWriter::State::create_tensor(TensorInfo& t, std::array<H5Object, 3>& parts) {
  static constexpr std::string_view axes[] = {"none", "rows", "columns"};
  std::string name = "/" + t.name;
  std::replace(name.begin(), name.end(), '.', '/');
  for (int part = 0; part < 3; part++) {
    if (t.parts[part].unit_bytes == 0) continue;
    PartShape shape = part_shape(t, part);
    hsize_t dims[3] = {static_cast<hsize_t>(t.units), static_cast<hsize_t>(t.unit_rows),
                       static_cast<hsize_t>(shape.row_elements)};
    H5Object type = h5_type(shape.type);
    parts[static_cast<size_t>(part)] =
        create_dataset(fmt::format("{}/{}", name, shape.name), type.id(), dims, &t.parts[part].offset);
  }
  H5Object group_object = h5_own(H5Gopen2(file.id(), name.c_str(), H5P_DEFAULT), temporary, name);
  hid_t id = group_object.id();
  h5_attribute(id, "rows", t.rows, temporary);
  h5_attribute(id, "columns", t.columns, temporary);
  h5_attribute(id, "axis", axes[static_cast<size_t>(t.axis)], temporary);
  h5_attribute(id, "dtype", dtype_name(t.format.type), temporary);
  if (!t.format.quantized()) return;
  h5_attribute(id, "bits", t.format.bits, temporary);
  h5_attribute(id, "group", t.format.group, temporary);
  h5_attribute(id, "zero", t.format.zero, temporary);
  if (t.format.e4m3) h5_attribute(id, "coding", "e4m3", temporary);
}

void CheckpointWriter::State::create_blob(Index::Blob& blob, const std::string& text) {
  H5Object type(H5Tcopy(H5T_C_S1));
  h5_check(H5Tset_size(type.id(), text.size()), temporary, blob.name);
  h5_check(H5Tset_strpad(type.id(), H5T_STR_NULLPAD), temporary, blob.name);
  h5_check(H5Tset_cset(type.id(), H5T_CSET_UTF8), temporary, blob.name);
  H5Object dataset = create_dataset("/" + blob.name, type.id(), {}, &blob.offset);
  if (group.rank() == 0)
    h5_check(H5Dwrite(dataset.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()), temporary, blob.name);
}

CheckpointWriter::CheckpointWriter(const WriterGroup& group, const std::string& path, const CheckpointContent& content)
    : state_(std::make_unique<State>(group, path)) {
  State& s = *state_;
  s.prepare(content);
  group.agree([&] {
    if (group.rank() != 0) return;
    check_destination(path);
    check_space(path, s.content_bytes + s.block_bytes + kTensorMetadata * (s.index.tensors.size() + 16));
    File::create(s.temporary);
  });
  try {
    group.agree([&] { s.create_file(); });
  } catch (...) {
    s.abandon();
    throw;
  }
}

CheckpointWriter::~CheckpointWriter() {
  if (!state_->finished) state_->abandon();
}

void CheckpointWriter::write(size_t tensor, UnitRange units, std::span<const std::byte> values,
                             std::span<const std::byte> scales, std::span<const std::byte> minimums) {
  State& s = *state_;
  TensorInfo& t = s.index.tensors.at(tensor);
  must(units.begin >= 0 && units.begin < units.end && units.end <= t.units, "units that are written exist");
  std::span<const std::byte> parts[3] = {values, scales, minimums};
  for (int part = 0; part < 3; part++) {
    TensorInfo::Part& p = t.parts[part];
    must(parts[part].size() == p.unit_bytes * static_cast<uint64_t>(units.size()),
         "written parts have the size of their units");
    if (p.unit_bytes == 0) continue;
    for (int u = units.begin; u < units.end; u++)
      p.checksums[static_cast<size_t>(u)] =
          xxh3(parts[part].subspan(p.unit_bytes * static_cast<uint64_t>(u - units.begin), p.unit_bytes));
    PartShape shape = part_shape(t, part);
    hsize_t start[3] = {static_cast<hsize_t>(units.begin), 0, 0};
    hsize_t count[3] = {static_cast<hsize_t>(units.size()), static_cast<hsize_t>(t.unit_rows),
                        static_cast<hsize_t>(shape.row_elements)};
    hid_t dataset = s.datasets[tensor][static_cast<size_t>(part)].id();
    H5Object type = h5_type(shape.type), file_space(H5Dget_space(dataset)),
             memory_space(H5Screate_simple(3, count, nullptr));
    h5_check(H5Sselect_hyperslab(file_space.id(), H5S_SELECT_SET, start, nullptr, count, nullptr), s.temporary, t.name);
    h5_check(H5Dwrite(dataset, type.id(), memory_space.id(), file_space.id(), H5P_DEFAULT, parts[part].data()),
             s.temporary, "writing " + t.name);
  }
  s.units_written += units.size();
}

void CheckpointWriter::State::abandon() {
  const BoundedCall call = group.bounded("all ranks to give a checkpoint up (HDF5)");
  if (group.rank() == 0) unlink(temporary.c_str());
  datasets.clear();
  file.reset();
}

// Rank 0, after all have closed: index into the user block, everything to disk, then the name.
void CheckpointWriter::State::publish() {
  File written = File::open_to_write(temporary);  // never made anew: then it would be an index of nothing
  written.write(user_block(index_text(index), block_bytes, std::filesystem::file_size(temporary)));
  publish_file(written, path);
}

void CheckpointWriter::finish() {
  State& s = *state_;
  int64_t expected = 0;
  std::vector<uint64_t> checksums;
  for (const TensorInfo& t : s.index.tensors) {
    expected += t.units;
    for (const TensorInfo::Part& p : t.parts) checksums.insert(checksums.end(), p.checksums.begin(), p.checksums.end());
  }
  must(s.group.sum(s.units_written) == expected, "every unit of a checkpoint is written once");
  s.group.combine(checksums);
  auto next = checksums.begin();
  for (TensorInfo& t : s.index.tensors)
    for (TensorInfo::Part& p : t.parts)
      for (uint64_t& sum : p.checksums) sum = *next++;
  s.group.agree([&] {
    const BoundedCall call = s.group.bounded("all ranks to close a checkpoint (HDF5)");
    h5_check(H5Fflush(s.file.id(), H5F_SCOPE_GLOBAL), s.temporary, "writing");
    s.datasets.clear();
    if (!s.file.reset()) h5_check(-1, s.temporary, "closing");
  });
  s.group.agree([&] {
    if (s.group.rank() == 0) s.publish();
  });
  s.finished = true;
}

}  // namespace trireme
