// libFuzzer's way into the one target that this program was built for.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace espalier::fuzz {
absl::Status ESPALIER_FUZZ_FUNCTION(std::string_view input);
}  // namespace espalier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of exactly this size, so that AddressSanitizer sees a read beyond its end; libFuzzer's
  // own buffer may be larger.
  const std::string input(reinterpret_cast<const char*>(data), size);
  const absl::Status status = espalier::fuzz::ESPALIER_FUZZ_FUNCTION(input);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}
