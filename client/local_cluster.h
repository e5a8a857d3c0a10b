// A coordinator and its workers in this process, over the same services as everywhere else.
#ifndef ESPALIER_CLIENT_LOCAL_CLUSTER_H_
#define ESPALIER_CLIENT_LOCAL_CLUSTER_H_

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/service/worker.h"

namespace espalier {

struct LocalClusterOptions {
  int workers = 1;
  int threads = 0;  // of each worker; 0 = all cores divided by the workers
  std::string device = "cpu";
};

// A folder that nobody else can enter, removed with all it holds at the end. Thread-safe.
class PrivateDirectory {
 public:
  // Below $TMPDIR or /tmp, whichever keeps a socket's path short enough.
  static absl::StatusOr<std::unique_ptr<PrivateDirectory>> Create();
  ~PrivateDirectory();
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void Remove() const;  // at once; idempotent

 private:
  explicit PrivateDirectory(std::filesystem::path path);
  const std::filesystem::path path_;
};

class LocalCluster {
 public:
  // Listens on a socket in `directory`, which must outlive the cluster.
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(const PrivateDirectory& directory,
                                                             const LocalClusterOptions& options,
                                                             const EngineLoader& loader);
  // Workers say goodbye, then the coordinator ends.
  virtual ~LocalCluster() = default;
  virtual std::string address() const = 0;
};

// Threads for each of `workers` on a machine of `cores`: at least one.
int ThreadsPerWorker(int cores, int workers);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_LOCAL_CLUSTER_H_
