#include "client/interrupts.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stop_token>
#include <thread>
#include <utility>

#include "client/exit_codes.h"

namespace espalier {

struct Interrupts::State {
  sigset_t previous_mask;
  int signals = -1;  // readable when a signal has come
  int quit = -1;     // readable when the thread shall end
  std::function<void()> last_words;
  std::stop_source source;
  std::thread listener;
  std::thread stopper;  // runs the callbacks, so that the listener is free for the second signal

  void Listen();
};

void Interrupts::State::Listen() {
  std::array<pollfd, 2> files = {{{signals, POLLIN, 0}, {quit, POLLIN, 0}}};
  while (poll(files.data(), files.size(), -1) >= 0 || errno == EINTR) {
    if ((files[1].revents & POLLIN) != 0) return;
    signalfd_siginfo info;
    if ((files[0].revents & POLLIN) == 0 || read(signals, &info, sizeof(info)) != sizeof(info)) {
      continue;
    }
    if (stopper.joinable()) {
      last_words();
      _exit(kExitInterrupted);
    }
    stopper = std::thread([this] { source.request_stop(); });
  }
}

Interrupts::Interrupts(std::function<void()> last_words) : state_(std::make_unique<State>()) {
  state_->last_words = std::move(last_words);
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&mask, signal);
  pthread_sigmask(SIG_BLOCK, &mask, &state_->previous_mask);
  state_->signals = signalfd(-1, &mask, SFD_CLOEXEC);
  state_->quit = eventfd(0, EFD_CLOEXEC);
  state_->listener = std::thread([state = state_.get()] { state->Listen(); });
}

Interrupts::~Interrupts() {
  const uint64_t one = 1;
  if (write(state_->quit, &one, sizeof(one)) != sizeof(one)) std::abort();
  state_->listener.join();
  if (state_->stopper.joinable()) state_->stopper.join();
  close(state_->signals);
  close(state_->quit);
  pthread_sigmask(SIG_SETMASK, &state_->previous_mask, nullptr);
}

std::stop_token Interrupts::token() const { return state_->source.get_token(); }

}  // namespace espalier
