// The coordinator's metrics in Prometheus' text format (docs/status.md lists them). Pure.
#ifndef ESPALIER_COORDINATOR_STATUS_METRICS_H_
#define ESPALIER_COORDINATOR_STATUS_METRICS_H_

#include <cstdint>
#include <string>

#include "coordinator/status/source.h"

namespace espalier {

// Of the process, which a snapshot does not know.
struct ProcessFigures {
  int64_t resident_bytes = 0;
  int64_t event_streams = 0;
};

std::string MetricsText(const StatusSnapshot& snapshot, const ProcessFigures& process);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_METRICS_H_
