#include "worker/engine/boundary.h"

#include <c10/util/Exception.h>

#include <exception>
#include <new>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/engine/memory.h"

namespace espalier {

std::string Megabytes(int64_t bytes) { return absl::StrCat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

absl::Status StatusOfException(const std::string& what) {
  try {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": out of device memory: ", error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (absl::StrContains(text, "not enough memory") || absl::StrContains(text, "allocate")) {
      return absl::ResourceExhaustedError(absl::StrCat(
          what, ": out of memory with ", Megabytes(AvailableMemory()), " available: ", text));
    }
    return absl::InternalError(absl::StrCat(what, ": ", text));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": out of memory with ", Megabytes(AvailableMemory()), " available"));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(what, ": ", error.what()));
  }
}

}  // namespace espalier
