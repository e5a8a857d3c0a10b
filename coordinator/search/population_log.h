// The population log: a line of JSON for each candidate, in order of generation and slot.
#ifndef ESPALIER_COORDINATOR_SEARCH_POPULATION_LOG_H_
#define ESPALIER_COORDINATOR_SEARCH_POPULATION_LOG_H_

#include <string>

#include "common/model_config.h"
#include "coordinator/search/search.h"

namespace espalier {

// {"generation":3,"slot":7,"origin":"crossover","parents":[[2,5],[0,0]],"parameters":94112,
//  "ratio":0.6987,"fitness":8.25,"fingerprint":"<hex>","pairs":[24,...],"channels":[448,...]}
// on one line, newline at the end. A candidate that is not scored on all sequences has its window,
// "window":[first,count], after the fitness. `pairs` has the kept rotary pairs of each layer, over
// all KV groups, `channels` the kept MLP channels; both 0 for a dropped layer. `fitness` is null
// for a candidate that failed (+infinity). Numbers are the shortest that read back to the same
// value, so equal searches have equal bytes.
std::string PopulationLogLine(const Candidate& candidate, double fitness,
                              const ModelConfig& config);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SEARCH_POPULATION_LOG_H_
