#include "worker/engine/control.h"

#include "absl/strings/str_cat.h"

namespace espalier {

bool Cancelled(const Control& control) {
  return control.cancelled != nullptr && control.cancelled->load(std::memory_order_relaxed);
}

absl::Status CancelledError() { return absl::CancelledError("stopped on request"); }

void Report(const Control& control, double fraction) {
  if (control.progress) control.progress(fraction);
}

Warner WarnerOf(const Control& control, const std::string& module) {
  if (!control.warn) return nullptr;
  return [warn = control.warn, module](const std::string& text) {
    warn(absl::StrCat(module, ": ", text));
  };
}

}  // namespace espalier
