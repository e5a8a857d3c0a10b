#include "worker/service/loaded_model.h"

#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/model_folder.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// Names, sizes and times of a folder's files: changes when a model is replaced, and costs no
// reading. A folder that cannot be listed has an empty stamp; opening it gives the error.
std::string FolderStamp(const fs::path& path) {
  std::map<std::string, std::string> files;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;  // e.g. a sub-folder has no size
    files[it->path().filename().string()] = absl::StrCat(
        it->file_size(ignored), " ", it->last_write_time(ignored).time_since_epoch().count());
  }
  std::string stamp;
  for (const auto& [name, facts] : files) absl::StrAppend(&stamp, name, " ", facts, "\n");
  return stamp;
}

absl::Status WrongContent(const fs::path& path, const std::string& have, const std::string& want) {
  return absl::FailedPreconditionError(absl::StrCat(
      path.string(), ": the model on this worker has the hash ", have, ", the job expects ", want,
      "; make the folder the same on every worker, and do not change it while a job "
      "runs"));
}

std::optional<StageRange> StageOf(const v1::ModelReference& reference) {
  if (reference.layers() == 0) return std::nullopt;
  return StageRange{reference.first_layer(), reference.layers()};
}

absl::Status CheckStage(const std::optional<StageRange>& stage, const ModelFolder& folder) {
  if (!stage.has_value() || (stage->first >= 0 && stage->count > 0 &&
                             stage->count <= folder.config.num_layers - stage->first)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(folder.path.string(), ": ", stage->count, " layers from layer ", stage->first,
                   " on are asked for, and the model has ", folder.config.num_layers));
}

// All tensors of a model as it is published have one type; the embedding stands for them.
absl::StatusOr<DType> TypeOnDisk(const ModelFolder& folder) {
  ESPALIER_ASSIGN_OR_RETURN(const TensorView embedding,
                            folder.tensors->Get("model.embed_tokens.weight"));
  return embedding.dtype;
}

}  // namespace

LoadedModel::LoadedModel(fs::path path, ModelDigest digest, DType dtype,
                         std::unique_ptr<Engine> engine)
    : path_(std::move(path)),
      digest_(std::move(digest)),
      hash_(HashOf(digest_)),
      dtype_(dtype),
      engine_(std::move(engine)) {}

template <typename Value, typename Make>
absl::StatusOr<Value> LoadedModel::KeptByAll(BoundedCache<std::string, Value>* cache,
                                             const TokenSequences& sequences,
                                             const Control& control, const Pipeline& pipeline,
                                             Make make) {
  const bool here = cache->Find(sequences.hash) != nullptr;
  ESPALIER_ASSIGN_OR_RETURN(const bool everywhere, engine_->AllStages(here, control, pipeline));
  if (everywhere) return *cache->Find(sequences.hash);
  cache->Erase(sequences.hash);
  cache->MakeRoom();
  constexpr int64_t kMessagesOfAgreement = 2;
  ESPALIER_ASSIGN_OR_RETURN(Value value, make({pipeline.transport, pipeline.task,
                                               pipeline.first + kMessagesOfAgreement}));
  cache->Insert(sequences.hash, value);
  return value;
}

absl::StatusOr<std::shared_ptr<const Calibration>> LoadedModel::Calibrate(
    const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) {
  return KeptByAll(&calibrations_, sequences, control, pipeline, [&](const Pipeline& call) {
    return engine_->Calibrate(sequences, control, call);
  });
}

absl::StatusOr<std::shared_ptr<const LoadedModel::UnitOrders>> LoadedModel::Orders(
    const Calibration& calibration, const OrdersKey& key, TaskControl* control, double begin,
    double end) {
  if (const auto* kept = orders_.Find(key)) return *kept;
  auto orders = std::make_shared<UnitOrders>();
  const double middle = (begin + end) / 2;
  control->SetActivity("scoring units");
  const Control scoring = control->Part(begin, middle);
  ESPALIER_ASSIGN_OR_RETURN(orders->scores,
                            key.scores == ScoreKind::kImportance
                                ? engine_->Importance(calibration, key.damping, scoring)
                                : engine_->BaselineScores(calibration, key.scores, scoring));
  if (key.steps.has_value()) {
    control->SetActivity("ranking units");
    ESPALIER_ASSIGN_OR_RETURN(orders->ranking,
                              engine_->Rank(calibration, *key.steps, control->Part(middle, end)));
  }
  orders_.Insert(key, orders);
  return orders;
}

LoadedModel::ReformationKey LoadedModel::KeyOf(const Subnet& subnet, const ReformationSpec& options,
                                               const std::string& calibration_hash) {
  return {.fingerprint = Fingerprint(subnet),
          .calibration = calibration_hash,
          .method = options.method,
          .damping = options.damping,
          .rho = options.rho,
          .iterations = options.iterations,
          .progressive_damping = options.progressive_damping,
          .input_damping = options.input_damping};
}

absl::StatusOr<std::shared_ptr<const Predictions>> LoadedModel::Predict(
    const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) {
  return KeptByAll(&predictions_, sequences, control, pipeline, [&](const Pipeline& call) {
    return engine_->Predict(sequences, control, call);
  });
}

absl::StatusOr<std::shared_ptr<const Predictions>> LoadedModel::PredictionsOn(
    const std::string& data_set) {
  if (const auto* kept = predictions_.Find(data_set)) return *kept;
  return absl::FailedPreconditionError(
      "this worker does not have the dense model's predictions; it must calibrate first");
}

absl::StatusOr<bool> LoadedModel::IsReformed(const Subnet& subnet, const ReformationSpec& options,
                                             const std::string& calibration_hash,
                                             const Pipeline& pipeline, const Control& control) {
  const bool here = CacheOf(options).Find(KeyOf(subnet, options, calibration_hash)) != nullptr;
  if (options.method != ReformationMethod::kProgressive || pipeline.transport == nullptr) {
    return here;
  }
  return engine_->AllStages(here, control, pipeline);
}

absl::StatusOr<Reformation> LoadedModel::Reform(const Subnet& subnet,
                                                const ReformationSpec& options,
                                                const TokenSequences& sequences, bool there,
                                                const Pipeline& pipeline, TaskControl* control,
                                                double begin, double end) {
  const ReformationKey key = KeyOf(subnet, options, sequences.hash);
  ReformationCache& cache = CacheOf(options);
  if (const Reformation* kept = there ? cache.Find(key) : nullptr) return *kept;
  const auto* grams = calibrations_.Find(sequences.hash);
  if (grams == nullptr) {
    return absl::FailedPreconditionError(
        "this worker does not have the calibration statistics; it must calibrate first");
  }
  control->SetActivity("reforming a subnet");
  cache.Erase(key);
  cache.MakeRoom();
  const Control part = control->Part(begin, end);
  ESPALIER_ASSIGN_OR_RETURN(
      Reformation reformation,
      options.method == ReformationMethod::kProgressive
          ? engine_->ReformProgressively(**grams, subnet, options, sequences, part, pipeline)
          : engine_->Reform(**grams, subnet, options, part));
  cache.Insert(key, reformation);
  return reformation;
}

ModelCache::ModelCache(EngineOptions options, EngineLoader loader, PathRoots roots)
    : options_(std::move(options)), loader_(std::move(loader)), roots_(std::move(roots)) {}

absl::StatusOr<LoadedModel*> ModelCache::Get(const v1::ModelReference& reference,
                                             TaskControl* control) {
  ESPALIER_ASSIGN_OR_RETURN(const Precision precision, ParsePrecision(reference.precision()));
  const bool resident = resident_ != nullptr && resident_->path() == reference.path() &&
                        precision_ == precision && stage_ == StageOf(reference) &&
                        stamp_ == FolderStamp(reference.path());
  if (!resident) ESPALIER_RETURN_IF_ERROR(Load(reference, precision, control));
  if (!reference.hash().empty() && reference.hash() != resident_->hash()) {
    return WrongContent(resident_->path(), resident_->hash(), reference.hash());
  }
  return resident_.get();
}

absl::Status ModelCache::Load(const v1::ModelReference& reference, Precision precision,
                              TaskControl* control) {
  const fs::path path = reference.path();
  ESPALIER_RETURN_IF_ERROR(roots_.CheckFolder(path));
  control->SetActivity(absl::StrCat("loading ", path.string()));
  const std::string stamp = FolderStamp(path);
  ESPALIER_ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(path));
  ESPALIER_ASSIGN_OR_RETURN(const DType dtype, TypeOnDisk(folder));
  const std::optional<StageRange> stage = StageOf(reference);
  ESPALIER_RETURN_IF_ERROR(CheckStage(stage, folder));
  ModelDigest digest = DigestStage(folder, stage.value_or(WholeModel(folder.config)));
  if (const std::string hash = HashOf(digest);
      !reference.hash().empty() && reference.hash() != hash) {
    return WrongContent(path, hash, reference.hash());
  }
  ESPALIER_RETURN_IF_ERROR(control->CheckCancelled());
  resident_.reset();
  EngineOptions options = options_;
  options.precision = precision;
  options.stage = stage;
  ESPALIER_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, loader_(path, options));
  resident_ = std::make_unique<LoadedModel>(path, std::move(digest), dtype, std::move(engine));
  precision_ = precision;
  stage_ = stage;
  stamp_ = stamp;
  return absl::OkStatus();
}

}  // namespace espalier
