#include "worker/engine/processor.h"

#include "worker/engine/packed_matrix.h"

namespace espalier {

bool MultipliesBFloat16() { return BestTypeForBFloat16() == ComputeType::kBFloat16; }

}  // namespace espalier
