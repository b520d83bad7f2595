#pragma once

#include <type_traits>

namespace trireme::testing {

// Pointers and numbers of equal size, in equal places: how the two declarations may differ.
template <typename Ours, typename Theirs>
constexpr bool alike = sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>;
template <typename Ours, typename Theirs>
struct SameCall : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
requires(sizeof...(A) == sizeof...(B)) struct SameCall<R (*)(A...), S(B...)>
    : std::bool_constant<alike<R, S> && (alike<A, B> && ...)> {
};

}  // namespace trireme::testing
