// The flags of espalier-coordinator that protect it.
#ifndef ESPALIER_COORDINATOR_SECURITY_FLAGS_H_
#define ESPALIER_COORDINATOR_SECURITY_FLAGS_H_

#include <CLI/CLI.hpp>

#include "absl/status/statusor.h"
#include "coordinator/service/security.h"

namespace espalier {

// `flags` outlives the parsing.
void AddSecurityFlags(CLI::App& app, CoordinatorSecurityFlags& flags);

// As ReadCoordinatorSecurity; warnings go to the log.
absl::StatusOr<CoordinatorSecurity> ReadAndLogSecurity(const CoordinatorSecurityFlags& flags);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SECURITY_FLAGS_H_
