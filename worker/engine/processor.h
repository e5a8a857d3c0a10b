// What the CPU of this machine is good at, for those who do not compute themselves.
#ifndef ESPALIER_WORKER_ENGINE_PROCESSOR_H_
#define ESPALIER_WORKER_ENGINE_PROCESSOR_H_

namespace espalier {

// Whether it multiplies in bfloat16, about twice as fast as in float32. Jobs in bfloat16 compute in
// float32 where it does not.
bool MultipliesBFloat16();

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_PROCESSOR_H_
