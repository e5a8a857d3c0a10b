// espalier_scale_benchmark: the real coordinator, a thousand simulated workers and a job on a model
// of LLaMA-65B's size. Prints a row of figures for each part of the way, then kills the coordinator
// and times its restart (docs/scale.md).
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "benchmarks/scale/coordinator_process.h"
#include "benchmarks/scale/large_job.h"
#include "benchmarks/scale/status_probe.h"
#include "benchmarks/scale/swarm.h"
#include "common/status_macros.h"
#include "espalier/v1/jobs.grpc.pb.h"
#include "nlohmann/json.hpp"

namespace espalier::scale {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{300};

struct Flags {
  std::string coordinator;
  std::string folder = "scale-run";
  int workers = 1000;
  int64_t candidates = 100'000;
  int64_t population = 4000;
  int64_t rows = 10;
  int delay_ms = 0;
  int lease_ms = 10'000;
  bool small = false;
};

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--coordinator", flags.coordinator, "Program to measure: espalier-coordinator")
      ->required();
  app.add_option("--folder", flags.folder, "For state and log; emptied first")
      ->capture_default_str();
  app.add_option("--workers", flags.workers)->capture_default_str();
  app.add_option("--candidates", flags.candidates)->capture_default_str();
  app.add_option("--population", flags.population, "Candidates of a generation")
      ->capture_default_str();
  app.add_option("--rows", flags.rows, "Parts of the run that are measured on their own")
      ->capture_default_str();
  app.add_option("--delay-ms", flags.delay_ms, "Of an evaluation, on average")
      ->capture_default_str();
  app.add_option("--lease-ms", flags.lease_ms)->capture_default_str();
  app.add_flag("--small", flags.small, "Masks of SmolLM2-135M's size instead of LLaMA-65B's");
}

class Benchmark {
 public:
  explicit Benchmark(const Flags& flags)
      : flags_(flags),
        port_(FreePort()),
        status_port_(FreePort()),
        coordinator_({.program = flags.coordinator,
                      .folder = flags.folder,
                      .port = port_,
                      .status_port = status_port_,
                      .lease_ms = flags.lease_ms}) {}

  absl::Status Run() {
    fs::remove_all(flags_.folder);
    fs::create_directories(flags_.folder);
    // The search must still go on when the last row is measured.
    ESPALIER_ASSIGN_OR_RETURN(
        const JobSpec spec,
        MakeLargeJob(fs::absolute(flags_.folder),
                     {.small = flags_.small,
                      .population = flags_.population,
                      .generations = flags_.candidates / flags_.population + 100}));
    ESPALIER_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(spec.model));
    Swarm swarm({.address = absl::StrCat("127.0.0.1:", port_),
                 .config = config,
                 .sequences = spec.search.sequences,
                 .predictions = spec.sequence_length - 1,
                 .population = flags_.population,
                 .workers = flags_.workers,
                 .delay = std::chrono::milliseconds(flags_.delay_ms)});
    ESPALIER_RETURN_IF_ERROR(StartCoordinator("start of an empty coordinator"));
    ESPALIER_RETURN_IF_ERROR(Attach(swarm));
    ESPALIER_RETURN_IF_ERROR(Submit(spec));
    ESPALIER_RETURN_IF_ERROR(Measure(swarm, flags_.rows, flags_.candidates / flags_.rows));
    return MeasureRestart(swarm);
  }

 private:
  absl::Status StartCoordinator(const std::string& what) {
    const Clock::time_point start = Clock::now();
    ESPALIER_RETURN_IF_ERROR(coordinator_.Start());
    while (!FetchStatus(status_port_, "/readyz").has_value()) {
      if (Clock::now() - start > kPatience) return absl::UnavailableError("it does not serve");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::printf("%s: serves after %.0f ms\n", what.c_str(), MillisecondsSince(start));
    return absl::OkStatus();
  }

  absl::Status Attach(Swarm& swarm) {
    const Clock::time_point start = Clock::now();
    ESPALIER_RETURN_IF_ERROR(swarm.Attach());
    std::printf("%d workers attached after %.0f ms; resident %.0f MiB\n", flags_.workers,
                MillisecondsSince(start), coordinator_.ResidentMebibytes());
    return absl::OkStatus();
  }

  absl::Status Submit(const JobSpec& spec) {
    const auto stub = v1::JobService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port_), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::SubmitJobRequest request;
    request.set_spec_yaml(JobSpecToYaml(spec));
    v1::Job job;
    const grpc::Status status = stub->SubmitJob(&context, request, &job);
    if (!status.ok()) return absl::UnavailableError(status.error_message());
    job_ = job.id();
    return absl::OkStatus();
  }

  absl::Status Measure(Swarm& swarm, int64_t rows, int64_t candidates) {
    std::printf("%10s %8s %16s %16s %16s %16s %9s %9s %9s %8s\n", "candidates", "1/s",
                "dispatch, ms", "generation, ms", "status, ms", "job, ms", "CPU ms", "down KiB",
                "up B", "RSS MiB");
    StatusProbe probe(status_port_, job_);
    for (int64_t row = 0; row < rows; ++row) {
      const Clock::time_point start = Clock::now();
      const double cpu = coordinator_.CpuSeconds();
      const WireBytes wire = CountWireBytes(port_);
      const int64_t before = swarm.answered();
      if (!swarm.WaitForAnswers(before + candidates)) {
        return absl::UnavailableError("a stream ended, or nothing happens");
      }
      const auto done = static_cast<double>(swarm.answered() - before);
      const WireBytes now = CountWireBytes(port_);
      std::printf(
          "%10lld %8.0f %16s %16s %16s %16s %9.3f %9.1f %9.0f %8.0f\n",
          static_cast<long long>(swarm.answered()), done / MillisecondsSince(start) * 1e3,
          Percentiles(swarm.dispatch().Take()).c_str(), Percentiles(swarm.turn().Take()).c_str(),
          Percentiles(probe.status().Take()).c_str(), Percentiles(probe.job().Take()).c_str(),
          (coordinator_.CpuSeconds() - cpu) * 1e3 / done,
          static_cast<double>(now.down - wire.down) / done / 1024,
          static_cast<double>(now.up - wire.up) / done, coordinator_.ResidentMebibytes());
      std::fflush(stdout);
    }
    std::printf("most resident: %.0f MiB\n", coordinator_.MostResidentMebibytes());
    return absl::OkStatus();
  }

  absl::Status MeasureRestart(Swarm& swarm) {
    coordinator_.Kill();
    swarm.Detach();
    const Clock::time_point start = Clock::now();
    ESPALIER_RETURN_IF_ERROR(StartCoordinator("killed and started again"));
    ESPALIER_RETURN_IF_ERROR(Attach(swarm));
    const int64_t received = swarm.received();
    if (!swarm.WaitForTask(received)) return absl::UnavailableError("it sends no task");
    std::printf("first candidate sent after %.0f ms; resident %.0f MiB\n", MillisecondsSince(start),
                coordinator_.ResidentMebibytes());
    return Measure(swarm, /*rows=*/1, flags_.candidates / flags_.rows);
  }

  const Flags flags_;
  const int port_;
  const int status_port_;
  CoordinatorProcess coordinator_;
  std::string job_;
};

}  // namespace
}  // namespace espalier::scale

int main(int argc, char** argv) {
  CLI::App app{"espalier_scale_benchmark: a real coordinator and a thousand simulated workers."};
  espalier::scale::Flags flags;
  espalier::scale::AddFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = espalier::scale::Benchmark(flags).Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "espalier_scale_benchmark: %s\n", std::string(status.message()).c_str());
  return 1;
}
