#include "client/local_cluster.h"

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/service/server.h"
#include "worker/service/worker.h"

namespace espalier {
namespace {

// sockaddr_un holds 108 bytes; our names below the folder need fewer than 40.
constexpr size_t kMaxDirectory = 60;

class InProcessCluster final : public LocalCluster {
 public:
  explicit InProcessCluster(std::unique_ptr<CoordinatorServer> server)
      : server_(std::move(server)) {}

  ~InProcessCluster() override {
    for (const auto& worker : workers_) worker->Stop();
    workers_.clear();
    server_->Shutdown();
  }

  void Add(std::unique_ptr<Worker> worker) { workers_.push_back(std::move(worker)); }
  std::string address() const override { return server_->address(); }

 private:
  const std::unique_ptr<CoordinatorServer> server_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PrivateDirectory>> PrivateDirectory::Create() {
  const char* temporary = std::getenv("TMPDIR");
  std::string base = temporary == nullptr ? "" : temporary;
  if (base.empty() || base.size() > kMaxDirectory) base = "/tmp";
  std::string pattern = absl::StrCat(base, "/espalier-XXXXXX");
  // mkdtemp makes it with mode 0700.
  if (mkdtemp(pattern.data()) == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("no temporary folder can be made in ", base, " (", std::strerror(errno),
                     "); set TMPDIR to a folder that can be written"));
  }
  return std::unique_ptr<PrivateDirectory>(new PrivateDirectory(pattern));
}

PrivateDirectory::PrivateDirectory(std::filesystem::path path) : path_(std::move(path)) {}
PrivateDirectory::~PrivateDirectory() { Remove(); }

void PrivateDirectory::Remove() const {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Start(
    const PrivateDirectory& directory, const LocalClusterOptions& options,
    const EngineLoader& loader) {
  CoordinatorOptions coordinator;
  coordinator.listen = absl::StrCat("unix:", (directory.path() / "coordinator").string());
  ESPALIER_ASSIGN_OR_RETURN(auto server, CoordinatorServer::Start(coordinator));
  auto cluster = std::make_unique<InProcessCluster>(std::move(server));
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  for (int i = 0; i < options.workers; ++i) {
    WorkerOptions worker;
    worker.coordinator = cluster->address();
    worker.name = absl::StrCat("local-", i + 1);
    worker.stage_listen = absl::StrCat("unix:", (directory.path() / worker.name).string());
    worker.device = options.device;
    worker.scratch = kDefaultScratch;
    worker.threads =
        options.threads > 0 ? options.threads : ThreadsPerWorker(cores, options.workers);
    ESPALIER_ASSIGN_OR_RETURN(auto started, Worker::Start(worker, loader));
    cluster->Add(std::move(started));
  }
  return cluster;
}

int ThreadsPerWorker(int cores, int workers) { return std::max(1, cores / std::max(1, workers)); }

}  // namespace espalier
