#include "worker/service/testing/fake_engine.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/model_folder.h"
#include "common/sha256.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

constexpr std::chrono::seconds kTestDeadline{20};

// In [0, 1), the same everywhere for the same text.
double Fraction(std::string_view text) {
  return static_cast<double>(std::stoul(Sha256Hex(text).substr(0, 8), nullptr, 16)) / 4294967296.0;
}

// What the opaque types hold here. The engine's own definitions may be linked into the same test,
// so these have other names and hide behind pointers to the declared types.
struct FakeCalibration {
  std::string data_set;
};
struct FakeReformedWeights {
  std::string fingerprint;
};

template <typename Opaque, typename Fake>
std::shared_ptr<const Opaque> Hide(Fake value) {
  const auto owner = std::make_shared<const Fake>(std::move(value));
  return {owner, reinterpret_cast<const Opaque*>(owner.get())};
}
const FakeCalibration& Reveal(const Calibration& calibration) {
  return reinterpret_cast<const FakeCalibration&>(calibration);
}
const FakeReformedWeights& Reveal(const ReformedWeights& weights) {
  return reinterpret_cast<const FakeReformedWeights&>(weights);
}

}  // namespace

double FakeNll(const Subnet& subnet, const ModelConfig& config, const int32_t* tokens,
               int64_t sequence_length, bool reformed) {
  const std::string_view bytes(reinterpret_cast<const char*>(tokens),
                               sequence_length * sizeof(int32_t));
  const double noise = Fraction(Fingerprint(subnet).append(bytes));
  const double lost = 1 - ParameterRatio(subnet, config);
  const double mean = 3 + (reformed ? 1 : 2) * lost + 0.1 * noise * lost;
  return mean * static_cast<double>(sequence_length - 1);
}

void FakeEngineControl::Block() {
  MutexLock lock(&mutex_);
  blocks_all_ = true;
}

void FakeEngineControl::BlockAfter(int evaluations) {
  MutexLock lock(&mutex_);
  last_evaluation_ = counts_.evaluations + evaluations;
}

bool FakeEngineControl::Blocks(int number_of_evaluation) const {
  return blocks_all_ || (last_evaluation_.has_value() && number_of_evaluation > *last_evaluation_);
}

void FakeEngineControl::Release() {
  MutexLock lock(&mutex_);
  blocks_all_ = false;
  last_evaluation_.reset();
  changed_.NotifyAll();
}

bool FakeEngineControl::WaitUntilBlocked() {
  const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
  MutexLock lock(&mutex_);
  while (waiting_ == 0) {
    if (!changed_.WaitUntil(&mutex_, deadline)) return waiting_ > 0;
  }
  return true;
}

void FakeEngineControl::FailNext(absl::Status status) {
  MutexLock lock(&mutex_);
  next_failure_ = std::move(status);
}

void FakeEngineControl::ThrowNext(Exception exception) {
  MutexLock lock(&mutex_);
  next_exception_ = exception;
}

void FakeEngineControl::WarnOf(const std::string& text) {
  MutexLock lock(&mutex_);
  warning_ = text;
}

void FakeEngineControl::OthersSay(bool yes) {
  MutexLock lock(&mutex_);
  others_say_ = yes;
}

bool FakeEngineControl::others_say() const {
  MutexLock lock(&mutex_);
  return others_say_;
}

void FakeEngineControl::TruncateExports() {
  MutexLock lock(&mutex_);
  truncates_exports_ = true;
}

bool FakeEngineControl::truncates_exports() const {
  MutexLock lock(&mutex_);
  return truncates_exports_;
}

FakeEngineControl::Counts FakeEngineControl::counts() const {
  MutexLock lock(&mutex_);
  return counts_;
}

void FakeEngineControl::EngineCreated() {
  MutexLock lock(&mutex_);
  ++counts_.loads;
  ++counts_.live_engines;
  counts_.most_live_engines = std::max(counts_.most_live_engines, counts_.live_engines);
}

void FakeEngineControl::EngineDestroyed() {
  MutexLock lock(&mutex_);
  --counts_.live_engines;
}

absl::Status FakeEngineControl::Enter(int Counts::*counter, const Control& control) {
  if (control.progress) control.progress(0.5);
  MutexLock lock(&mutex_);
  if (control.warn && !warning_.empty()) control.warn(warning_);
  ++(counts_.*counter);
  counts_.most_calls_at_once = std::max(counts_.most_calls_at_once, ++calls_);
  const int number = counter == &Counts::evaluations ? counts_.evaluations : 0;
  const auto cancelled = [&] { return control.cancelled != nullptr && *control.cancelled; };
  const bool waits = Blocks(number);
  if (waits) ++waiting_;
  changed_.NotifyAll();
  // The flag has no condition to wait on, so it is looked at every millisecond.
  while (Blocks(number) && !cancelled()) {
    changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(1));
  }
  if (waits) --waiting_;
  if (cancelled()) return absl::CancelledError("cancelled");
  if (const auto exception = std::exchange(next_exception_, std::nullopt)) {
    if (*exception == Exception::kBadAlloc) throw std::bad_alloc();
    throw std::runtime_error("thrown on demand");
  }
  return std::exchange(next_failure_, absl::OkStatus());
}

void FakeEngineControl::Leave() {
  MutexLock lock(&mutex_);
  --calls_;
}

class FakeEngine : public Engine {
 public:
  FakeEngine(ModelConfig config, Subnet resident, std::shared_ptr<FakeEngineControl> control)
      : config_(config), resident_(std::move(resident)), control_(std::move(control)) {
    control_->EngineCreated();
  }
  ~FakeEngine() override { control_->EngineDestroyed(); }

  const ModelConfig& config() const override { return config_; }
  StageRange stage() const override { return WholeModel(config_); }
  const Subnet& resident() const override { return resident_; }
  EngineMemory memory() const override { return {.weights = 4 * DenseParameters(config_)}; }

  absl::StatusOr<std::vector<SequenceLoss>> Evaluate(const Subnet& subnet,
                                                     const TokenSequences& sequences,
                                                     const EvaluationOptions& options,
                                                     const Control& control,
                                                     const Pipeline&) override {
    const ReformedWeights* reformed = options.reformed;
    const Call call(this, &FakeEngineControl::Counts::evaluations, control);
    ESPALIER_RETURN_IF_ERROR(call.status());
    ESPALIER_RETURN_IF_ERROR(Match(subnet, reformed));
    std::vector<SequenceLoss> losses;
    for (int64_t i = 0; i < sequences.count(); ++i) {
      const int64_t length = sequences.sequence_length;
      losses.push_back({.nll_sum = FakeNll(subnet, config_, &sequences.tokens[i * length], length,
                                           reformed != nullptr),
                        .predictions = length - 1});
      if (options.dense == nullptr) continue;
      const double dense =
          FakeNll(Subnet::Dense(config_), config_, &sequences.tokens[i * length], length, false);
      losses.back().kl_sum = std::max(0.0, losses.back().nll_sum - dense);
    }
    return losses;
  }

  absl::StatusOr<std::shared_ptr<const Predictions>> Predict(const TokenSequences& sequences,
                                                             const Control& control,
                                                             const Pipeline&) override {
    const Call call(this, &FakeEngineControl::Counts::predictions, control);
    ESPALIER_RETURN_IF_ERROR(call.status());
    return Hide<Predictions>(FakeCalibration{sequences.hash});
  }

  absl::StatusOr<std::shared_ptr<const Calibration>> Calibrate(const TokenSequences& sequences,
                                                               const Control& control,
                                                               const Pipeline&) override {
    const Call call(this, &FakeEngineControl::Counts::calibrations, control);
    ESPALIER_RETURN_IF_ERROR(call.status());
    return Hide<Calibration>(FakeCalibration{sequences.hash});
  }

  absl::StatusOr<UnitScores> Importance(const Calibration& calibration, double damping,
                                        const Control& control) override {
    return Scores(absl::StrCat(Reveal(calibration).data_set, " ", damping), control);
  }

  absl::StatusOr<UnitScores> BaselineScores(const Calibration& calibration, ScoreKind kind,
                                            const Control& control) override {
    return Scores(absl::StrCat(Reveal(calibration).data_set, " baseline ", static_cast<int>(kind)),
                  control);
  }

  absl::StatusOr<UnitScores> Scores(const std::string& prefix, const Control& control) {
    const Call call(this, &FakeEngineControl::Counts::importances, control);
    ESPALIER_RETURN_IF_ERROR(call.status());
    UnitScores scores;
    for (int64_t l = 0; l < config_.num_layers; ++l) {
      LayerScores& layer = scores.layers.emplace_back();
      layer.attention.resize(config_.num_kv_heads);
      for (int64_t g = 0; g < config_.num_kv_heads; ++g) {
        for (int64_t p = 0; p < config_.pairs(); ++p) {
          layer.attention[g].push_back(Fraction(absl::StrCat(prefix, " a", l, " ", g, " ", p)));
        }
      }
      for (int64_t c = 0; c < config_.intermediate_size; ++c) {
        layer.mlp.push_back(Fraction(absl::StrCat(prefix, " m", l, " ", c)));
      }
    }
    return scores;
  }

  absl::StatusOr<Ranking> Rank(const Calibration& calibration, const CutSteps& steps,
                               const Control& control) override {
    const Call call(this, &FakeEngineControl::Counts::rankings, control);
    ESPALIER_RETURN_IF_ERROR(call.status());
    const std::string prefix = Reveal(calibration).data_set;
    Ranking ranking;
    for (int64_t l = 0; l < config_.num_layers; ++l) {
      LayerRanking& layer = ranking.layers.emplace_back();
      for (int64_t left = steps.pairs; left < config_.pairs(); left += steps.pairs) {
        AttentionCut& cut = layer.attention.emplace_back();
        for (int64_t g = 0; g < config_.num_kv_heads; ++g) {
          Bitmask& mask = cut.masks.emplace_back(config_.pairs());
          for (int64_t p = 0; p < left; ++p) mask.Set(p);
        }
        cut.error = Fraction(absl::StrCat(prefix, " r", l)) /
                    static_cast<double>(left * config_.num_kv_heads);
      }
      for (int64_t c = 0; c < config_.intermediate_size; ++c) {
        layer.channels.push_back(static_cast<int32_t>(c));
      }
      for (int64_t left = 0; left < config_.intermediate_size; left += steps.channels) {
        layer.channel_errors.push_back(1.0 / static_cast<double>(left + 1));
      }
    }
    return ranking;
  }

  absl::StatusOr<Reformation> ReformProgressively(const Calibration& calibration,
                                                  const Subnet& subnet,
                                                  const ReformationSpec& options,
                                                  const TokenSequences&, const Control& control,
                                                  const Pipeline&) override {
    return Reform(calibration, subnet, options, control);
  }

  absl::StatusOr<bool> AllStages(bool yes, const Control&, const Pipeline&) override {
    return yes && control_->others_say();
  }

  absl::StatusOr<Reformation> Reform(const Calibration& calibration, const Subnet& subnet,
                                     const ReformationSpec& options,
                                     const Control& control) override {
    const Call call(this, &FakeEngineControl::Counts::reformations, control);
    ESPALIER_RETURN_IF_ERROR(call.status());
    const std::string key =
        absl::StrCat(Reveal(calibration).data_set, " ", Fingerprint(subnet), " ", options.damping,
                     " ", options.rho, " ", options.iterations);
    Reformation reformation;
    reformation.weights = Hide<ReformedWeights>(FakeReformedWeights{Fingerprint(subnet)});
    for (int64_t l = 0; l < config_.num_layers; ++l) {
      const double before = 0.5 + 0.5 * Fraction(absl::StrCat(key, l));
      reformation.errors.push_back(
          {.layer = l, .mlp = l % 2 == 1, .before = before, .after = before / 2});
    }
    return reformation;
  }

  absl::Status ExportCompact(const Subnet& subnet, const ReformedWeights* reformed, DType dtype,
                             const ByteSink& sink, const Control& control) override {
    const Call call(this, &FakeEngineControl::Counts::exports, control);
    ESPALIER_RETURN_IF_ERROR(call.status());
    ESPALIER_RETURN_IF_ERROR(Match(subnet, reformed));
    const std::vector<TensorSpec> tensors = ExpectedTensors(config_, subnet, dtype);
    for (const TensorSpec& tensor : tensors) {
      const double value = Fraction(absl::StrCat(tensor.name, reformed != nullptr));
      std::string bytes(tensor.ByteSize(), static_cast<char>(256 * value));
      if (control_->truncates_exports() && &tensor == &tensors.back()) bytes.pop_back();
      ESPALIER_RETURN_IF_ERROR(sink(bytes));
    }
    return absl::OkStatus();
  }

 private:
  class Call {
   public:
    Call(FakeEngine* engine, int FakeEngineControl::Counts::*counter, const Control& control)
        : control_(engine->control_.get()), leave_{control_} {
      status_ = control_->Enter(counter, control);
    }
    const absl::Status& status() const { return status_; }

   private:
    // A member, so that it also runs when Enter throws.
    struct Leaver {
      FakeEngineControl* control;
      ~Leaver() { control->Leave(); }
    };
    FakeEngineControl* control_;
    Leaver leave_;
    absl::Status status_;
  };

  // Weights of another subnet would be a mistake of the caller's cache.
  static absl::Status Match(const Subnet& subnet, const ReformedWeights* reformed) {
    if (reformed == nullptr || Reveal(*reformed).fingerprint == Fingerprint(subnet)) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError("the reformed weights belong to another subnet");
  }

  const ModelConfig config_;
  const Subnet resident_;
  const std::shared_ptr<FakeEngineControl> control_;
};

EngineLoader FakeEngineLoader(const std::shared_ptr<FakeEngineControl>& control) {
  return [control](const std::filesystem::path& model,
                   const EngineOptions&) -> absl::StatusOr<std::unique_ptr<Engine>> {
    ESPALIER_ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(model));
    Subnet resident = folder.masks.value_or(Subnet::Dense(folder.config));
    return std::make_unique<FakeEngine>(folder.config, std::move(resident), control);
  };
}

}  // namespace espalier
