// espalier-worker: computes on one device what a coordinator asks for.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "common/version.h"
#include "worker/engine/engine.h"
#include "worker/service/worker.h"

namespace espalier {
namespace {

constexpr char kDescription[] =
    "Computes on one device what an Espalier coordinator asks for: scores candidate subnets,\n"
    "calibrates, reforms and exports. Models are read from the paths that jobs name, so these "
    "must\n"
    "exist on this machine. Stop it with SIGTERM or Ctrl-C: it hands back its task, says goodbye\n"
    "and exits with 0.";
constexpr char kExample[] =
    "Example, two workers on one machine:\n"
    "  espalier-coordinator --listen 127.0.0.1:7070 &\n"
    "  espalier-worker --coordinator 127.0.0.1:7070 --threads 4 &\n"
    "  espalier-worker --coordinator 127.0.0.1:7070 --device cuda:0 &\n"
    "  espalier submit job.yaml --coordinator 127.0.0.1:7070\n"
    "Exit codes: 0 stopped by a signal, 1 no coordinator or refused by it, 2 bad arguments.";

// Calls `on_signal` on a thread of its own after SIGTERM or SIGINT. Construct it before any other
// thread starts: they inherit the blocked signals.
class StopSignals {
 public:
  StopSignals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signals_ = signalfd(-1, &signals, SFD_CLOEXEC);
    finished_ = eventfd(0, EFD_CLOEXEC);
  }
  ~StopSignals() {
    const uint64_t one = 1;
    if (write(finished_, &one, sizeof(one)) != sizeof(one)) std::perror("eventfd");
    if (thread_.joinable()) thread_.join();
    close(signals_);
    close(finished_);
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void Watch(std::function<void()> on_signal) {
    thread_ = std::thread([this, on_signal = std::move(on_signal)] {
      pollfd files[] = {{signals_, POLLIN, 0}, {finished_, POLLIN, 0}};
      while (poll(files, 2, -1) < 0 && errno == EINTR) {
      }
      if (files[0].revents != 0) on_signal();
    });
  }

 private:
  int signals_ = -1;
  int finished_ = -1;
  std::thread thread_;
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "espalier-worker: %s\n", std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}

int Run(const WorkerOptions& options) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("worker"));
  StopSignals signals;
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Start(options, Engine::Load);
  if (!worker.ok()) return Fail(worker.status());
  signals.Watch([&] {
    spdlog::info("stopping: the task in hand goes back to the coordinator");
    (*worker)->Stop();
  });
  const absl::Status outcome = (*worker)->Wait();
  return outcome.ok() ? 0 : Fail(outcome);
}

int Main(int argc, char** argv) {
  CLI::App app{kDescription, "espalier-worker"};
  app.footer(kExample);
  app.set_version_flag("--version", std::string(kVersion));
  WorkerOptions options;
  double connect_timeout = 60;
  app.add_option("--coordinator", options.coordinator,
                 "Where the coordinator listens: HOST:PORT or unix:/path/to/socket")
      ->type_name("ADDR")
      ->required();
  app.add_option("--device", options.device, "cpu, or cuda:N for the N-th GPU")
      ->type_name("DEVICE")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Threads of the cpu device; 0 = all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--name", options.name, "Shown in lists of workers (default: host:pid)")
      ->type_name("NAME");
  app.add_option("--connect-timeout", connect_timeout,
                 "How long to try to reach the coordinator, at the start and after a lost\n"
                 "connection; 0 = for ever")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  options.connect_timeout = std::chrono::milliseconds(static_cast<int64_t>(connect_timeout * 1000));
  return Run(options);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) { return espalier::Main(argc, argv); }
