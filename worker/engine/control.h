// What a long computation says to its caller, and asks it. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_CONTROL_H_
#define ESPALIER_WORKER_ENGINE_CONTROL_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/engine.h"

namespace espalier {

// True when the caller asked to stop.
bool Cancelled(const Control& control);
absl::Status CancelledError();

void Report(const Control& control, double fraction);

// Takes a warning of one module; may be empty.
using Warner = std::function<void(const std::string& text)>;
// Passes a module's warnings on, with its name: "layer 3 down_proj".
Warner WarnerOf(const Control& control, const std::string& module);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_CONTROL_H_
