// The version of this build: what programs print, what a worker's Hello must match, and what result
// folders record.
#ifndef ESPALIER_COMMON_VERSION_H_
#define ESPALIER_COMMON_VERSION_H_

#include <string_view>

namespace espalier {

inline constexpr std::string_view kVersion = "0.1.0";  // as in the top CMakeLists.txt

}  // namespace espalier

#endif  // ESPALIER_COMMON_VERSION_H_
