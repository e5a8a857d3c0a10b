// Ctrl-C (SIGINT), SIGTERM and SIGHUP: the first asks for a clean end, the second ends at once.
#ifndef ESPALIER_CLIENT_INTERRUPTS_H_
#define ESPALIER_CLIENT_INTERRUPTS_H_

#include <functional>
#include <memory>
#include <stop_token>

namespace espalier {

// While it lives the three signals reach a thread of its own, where callbacks may do anything. Make
// it before any other thread: threads inherit that the signals are blocked. One at a time.
class Interrupts {
 public:
  // `last_words` runs before the second signal ends the process with status 130; it removes what
  // must not stay behind.
  explicit Interrupts(std::function<void()> last_words = [] {});
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Stopped by the first signal. Callbacks (std::stop_callback) run in the signals' thread.
  std::stop_token token() const;
  bool interrupted() const { return token().stop_requested(); }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier

#endif  // ESPALIER_CLIENT_INTERRUPTS_H_
