// The one model that a worker keeps loaded, with everything that was computed from it.
//
// The Gram matrices of the last calibration stay until the next one, or until another model is
// loaded: the coordinator relies on that. What was said of the units, and reformed weights, are
// only caches. All go by the hash of the text, so that jobs share them.
#ifndef ESPALIER_WORKER_SERVICE_LOADED_MODEL_H_
#define ESPALIER_WORKER_SERVICE_LOADED_MODEL_H_

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/model_digest.h"
#include "common/path_roots.h"
#include "common/ranking.h"
#include "common/safetensors.h"
#include "common/subnet.h"
#include "common/text.h"
#include "espalier/v1/worker.pb.h"
#include "worker/engine/engine.h"
#include "worker/service/bounded_cache.h"
#include "worker/service/task_control.h"
#include "worker/service/worker.h"

namespace espalier {

// Not thread-safe: the executor's.
class LoadedModel {
 public:
  // `dtype` is that of the tensors on disk, `digest` that of the engine's stage.
  LoadedModel(std::filesystem::path path, ModelDigest digest, DType dtype,
              std::unique_ptr<Engine> engine);

  const std::filesystem::path& path() const { return path_; }
  const ModelDigest& digest() const { return digest_; }
  const std::string& hash() const { return hash_; }  // of the digest
  DType dtype() const { return dtype_; }
  Engine& engine() { return *engine_; }

  // What is kept is given again, to several stages when all of them have it: else they must run
  // together.
  absl::StatusOr<std::shared_ptr<const Calibration>> Calibrate(const TokenSequences& sequences,
                                                               const Control& control,
                                                               const Pipeline& pipeline = {});

  // The dense model's predictions, kept like the calibration.
  absl::StatusOr<std::shared_ptr<const Predictions>> Predict(const TokenSequences& sequences,
                                                             const Control& control,
                                                             const Pipeline& pipeline = {});

  // What a calibration says of the units of the stage's modules.
  struct UnitOrders {
    UnitScores scores;
    Ranking ranking;  // empty unless steps were given
  };
  struct OrdersKey {
    std::string data_set;
    ScoreKind scores = ScoreKind::kImportance;
    double damping = 0;  // of the importance
    std::optional<CutSteps> steps;

    friend bool operator==(const OrdersKey&, const OrdersKey&) = default;
  };
  // `calibration` is that on the key's data set; `begin` to `end` the part of the task.
  absl::StatusOr<std::shared_ptr<const UnitOrders>> Orders(const Calibration& calibration,
                                                           const OrdersKey& key,
                                                           TaskControl* control, double begin,
                                                           double end);

  // FAILED_PRECONDITION unless the last ones were on this data set.
  absl::StatusOr<std::shared_ptr<const Predictions>> PredictionsOn(const std::string& data_set);

  // Whether Reform has the weights already. All stages ask it together, and get the same answer
  // where the method needs them all at once: one that lost its weights makes the others compute
  // theirs again.
  absl::StatusOr<bool> IsReformed(const Subnet& subnet, const ReformationSpec& options,
                                  const std::string& calibration_hash, const Pipeline& pipeline,
                                  const Control& control);
  // FAILED_PRECONDITION unless the last calibration was on `sequences`. `there` is IsReformed's
  // answer, `begin` to `end` the part of the task that this makes up. Requires a method other than
  // none.
  absl::StatusOr<Reformation> Reform(const Subnet& subnet, const ReformationSpec& options,
                                     const TokenSequences& sequences, bool there,
                                     const Pipeline& pipeline, TaskControl* control, double begin,
                                     double end);

 private:
  // Everything that reformed weights of this model follow from.
  struct ReformationKey {
    std::string fingerprint;
    std::string calibration;
    ReformationMethod method;
    double damping;
    double rho;
    int64_t iterations;
    double progressive_damping;
    double input_damping;

    friend bool operator==(const ReformationKey&, const ReformationKey&) = default;
  };
  // The value for the text, if all stages have it; else all make it.
  template <typename Value, typename Make>
  absl::StatusOr<Value> KeptByAll(BoundedCache<std::string, Value>* cache,
                                  const TokenSequences& sequences, const Control& control,
                                  const Pipeline& pipeline, Make make);
  using ReformationCache = BoundedCache<ReformationKey, Reformation>;
  ReformationCache& CacheOf(const ReformationSpec& options) {
    return options.method == ReformationMethod::kProgressive ? progressive_ : reformations_;
  }
  static ReformationKey KeyOf(const Subnet& subnet, const ReformationSpec& options,
                              const std::string& calibration_hash);

  // The Gram matrices of a 7B model are 22 GB, so one set. Reformed weights are the o and down of a
  // subnet; a job alternates between very few.
  static constexpr size_t kCalibrations = 1;
  static constexpr size_t kReformations = 2;
  // One is a thousandth of the Gram matrices.
  static constexpr size_t kOrders = 4;

  const std::filesystem::path path_;
  const ModelDigest digest_;
  const std::string hash_;
  const DType dtype_;
  const std::unique_ptr<Engine> engine_;
  BoundedCache<std::string, std::shared_ptr<const Calibration>> calibrations_{kCalibrations};
  BoundedCache<std::string, std::shared_ptr<const Predictions>> predictions_{kCalibrations};
  BoundedCache<OrdersKey, std::shared_ptr<const UnitOrders>> orders_{kOrders};
  ReformationCache reformations_{kReformations};
  // Apart, because one takes minutes and not seconds: a job has one, and measures other candidates
  // between making and exporting it.
  ReformationCache progressive_{1};
};

// Not thread-safe: the executor's.
class ModelCache {
 public:
  // `options` with any precision and stage; models must lie below `roots`.
  ModelCache(EngineOptions options, EngineLoader loader, PathRoots roots = {});

  // The model, or stage, that `reference` names; loads it when another is resident, or when the
  // folder's files changed since. The old one is released first: two may not fit.
  // FAILED_PRECONDITION, naming both hashes, when the folder's content is not the expected one.
  // PERMISSION_DENIED when the folder, or a link in it, leads outside the roots.
  absl::StatusOr<LoadedModel*> Get(const v1::ModelReference& reference, TaskControl* control);

 private:
  absl::Status Load(const v1::ModelReference& reference, Precision precision, TaskControl* control);

  const EngineOptions options_;
  const EngineLoader loader_;
  const PathRoots roots_;
  std::unique_ptr<LoadedModel> resident_;
  Precision precision_ = Precision::kFloat32;
  std::optional<StageRange> stage_;  // unset: the whole model
  std::string stamp_;                // of the resident model's files
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_LOADED_MODEL_H_
