#include "worker/service/task_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "common/file.h"
#include "common/model_folder.h"
#include "worker/service/testing/fake_engine.h"
#include "worker/service/testing/tiny_model.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// Keeps files in memory; fails on demand.
class MemorySink : public ArtifactSink {
 public:
  absl::StatusOr<std::unique_ptr<ArtifactWriter>> Create(const v1::Task& task,
                                                         std::string_view name,
                                                         TaskControl*) override {
    EXPECT_EQ(task.job_id(), "job-1");
    return std::make_unique<Writer>(this, std::string(name));
  }
  std::map<std::string, std::string> files;  // closed ones only
  absl::Status failure;

 private:
  class Writer : public ArtifactWriter {
   public:
    Writer(MemorySink* sink, std::string name) : sink_(sink), name_(std::move(name)) {}
    absl::Status Append(std::string_view bytes) override {
      bytes_ += bytes;
      return sink_->failure;
    }
    absl::Status Close() override {
      sink_->files[name_] = bytes_;
      return absl::OkStatus();
    }

   private:
    MemorySink* sink_;
    std::string name_;
    std::string bytes_;
  };
};

int Code(absl::StatusCode code) { return static_cast<int>(code); }

class TaskExecutorTest : public ::testing::Test {
 protected:
  TaskExecutorTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                ::testing::UnitTest::GetInstance()->current_test_info()->name()),
        executor_(Options()) {
    std::filesystem::remove_all(folder_);
    WriteTinyModel(folder_ / "model", 1, DType::kBFloat16);
    EXPECT_TRUE(data_sets_.Add(ToMessage(calibration_)).ok());
    EXPECT_TRUE(data_sets_.Add(ToMessage(text_)).ok());
  }

  TaskExecutor::Options Options() {
    return {.device = "cpu",
            .threads = 1,
            .loader = FakeEngineLoader(fake_),
            .data_sets = &data_sets_,
            .artifacts = &sink_,
            .now = [this] { return now_ += std::chrono::seconds(3); }};
  }
  v1::Task MakeTask() const {
    v1::Task task;
    task.set_id(11);
    task.set_epoch(5);
    task.set_job_id("job-1");
    task.mutable_model()->set_path((folder_ / "model").string());
    task.mutable_model()->set_precision("float32");
    return task;
  }
  v1::Task EvaluateTask() const {
    v1::Task task = MakeTask();
    *task.mutable_evaluate()->mutable_subnet() = ToMessage(TinySubnet());
    task.mutable_evaluate()->set_data_set(text_.hash);
    task.mutable_evaluate()->set_first_sequence(1);
    task.mutable_evaluate()->set_sequence_count(2);
    return task;
  }
  v1::ReformationOptions ClosedForm() const {
    v1::ReformationOptions options;
    options.set_method("closed_form");
    options.set_damping(1e-3);
    options.set_calibration(calibration_.hash);
    return options;
  }
  v1::Task ExportTask() const {
    v1::Task task = MakeTask();
    *task.mutable_export_()->mutable_subnet() = ToMessage(TinySubnet());
    *task.mutable_export_()->mutable_reformation() = ClosedForm();
    return task;
  }
  double ExpectedNll(int64_t sequence, bool reformed) const {
    return FakeNll(TinySubnet(), TinyConfig(), &text_.tokens[sequence * text_.sequence_length],
                   text_.sequence_length, reformed);
  }
  void Calibrate() {
    v1::Task task = MakeTask();
    task.mutable_calibrate()->set_data_set(calibration_.hash);
    task.mutable_calibrate()->set_damping(0.01);
    ASSERT_FALSE(Execute(task).has_error());
  }
  v1::TaskResult Execute(const v1::Task& task) { return executor_.Execute(task, &control_); }

  const std::filesystem::path folder_;
  const TokenSequences calibration_ = TinySequences(4, 3);
  const TokenSequences text_ = TinySequences(5, 4);
  const std::shared_ptr<FakeEngineControl> fake_ = std::make_shared<FakeEngineControl>();
  std::chrono::steady_clock::time_point now_;
  DataSetStore data_sets_;
  MemorySink sink_;
  TaskControl control_;
  TaskExecutor executor_;
};

TEST_F(TaskExecutorTest, LoadReportsTheModel) {
  v1::Task task = MakeTask();
  task.mutable_load();
  const v1::TaskResult result = Execute(task);
  ASSERT_FALSE(result.has_error()) << result.error().message();
  EXPECT_EQ(result.task_id(), 11u);
  EXPECT_EQ(result.epoch(), 5u);
  ModelDigest digest{.description = result.load().description(), .tensors = {}};
  for (const v1::TensorDigest& tensor : result.load().tensors()) {
    digest.tensors[tensor.name()] = tensor.sha256();
  }
  EXPECT_EQ(HashOf(digest), ModelHash(*OpenModelFolder(folder_ / "model")));
  EXPECT_EQ(result.load().weight_bytes(), 4 * DenseParameters(TinyConfig()));
  EXPECT_EQ(result.seconds(), 3);
}

TEST_F(TaskExecutorTest, CalibrateReportsUnitScores) {
  v1::Task task = MakeTask();
  task.mutable_calibrate()->set_data_set(calibration_.hash);
  task.mutable_calibrate()->set_damping(0.01);
  const v1::TaskResult result = Execute(task);
  ASSERT_FALSE(result.has_error()) << result.error().message();

  const auto engine = FakeEngineLoader(fake_)(folder_ / "model", {});
  const auto expected = (*engine)->Importance(**(*engine)->Calibrate(calibration_, {}), 0.01, {});
  ASSERT_EQ(result.calibrate().layers_size(), 3);
  for (int l = 0; l < 3; ++l) {
    const v1::LayerUnitScores& layer = result.calibrate().layers(l);
    ASSERT_EQ(layer.attention_size(), 2);
    EXPECT_THAT(layer.attention(1).pairs(),
                ::testing::ElementsAreArray(expected->layers[l].attention[1]));
    EXPECT_THAT(layer.mlp(), ::testing::ElementsAreArray(expected->layers[l].mlp));
  }
}

TEST_F(TaskExecutorTest, WarningsOfTheEngineAreInTheResultOnce) {
  fake_->WarnOf("layer 1 MLP: nearly singular");
  v1::Task task = MakeTask();
  task.mutable_calibrate()->set_data_set(calibration_.hash);
  task.mutable_calibrate()->set_channel_step(1);
  task.mutable_calibrate()->set_pair_step(1);
  const v1::TaskResult result = Execute(task);
  ASSERT_FALSE(result.has_error()) << result.error().message();
  EXPECT_GT(fake_->counts().rankings, 0);
  EXPECT_THAT(result.warnings(), ElementsAre("layer 1 MLP: nearly singular"));
}

TEST_F(TaskExecutorTest, CalibrateComputesTheScoresThatAreAskedFor) {
  v1::Task task = MakeTask();
  task.mutable_calibrate()->set_data_set(calibration_.hash);
  task.mutable_calibrate()->set_scores(v1::SCORE_KIND_FLUCTUATION);
  const v1::TaskResult result = Execute(task);
  ASSERT_FALSE(result.has_error()) << result.error().message();
  const auto engine = FakeEngineLoader(fake_)(folder_ / "model", {});
  const auto expected = (*engine)->BaselineScores(**(*engine)->Calibrate(calibration_, {}),
                                                  ScoreKind::kFluctuation, {});
  EXPECT_THAT(result.calibrate().layers(2).mlp(),
              ::testing::ElementsAreArray(expected->layers[2].mlp));
  task.mutable_calibrate()->set_scores(static_cast<v1::ScoreKind>(77));
  EXPECT_EQ(Execute(task).error().code(), Code(absl::StatusCode::kInvalidArgument));
}

TEST_F(TaskExecutorTest, EvaluatesTheSubnetOnThePartOfTheText) {
  const v1::TaskResult result = Execute(EvaluateTask());
  ASSERT_FALSE(result.has_error()) << result.error().message();
  EXPECT_THAT(result.evaluate().nll_sums(),
              ElementsAre(ExpectedNll(1, false), ExpectedNll(2, false)));
  EXPECT_EQ(result.evaluate().predictions_per_sequence(), text_.sequence_length - 1);
  EXPECT_EQ(fake_->counts().calibrations, 0);
}

TEST_F(TaskExecutorTest, NoMasksMeanTheDenseModel) {
  v1::Task task = EvaluateTask();
  task.mutable_evaluate()->clear_subnet();
  task.mutable_evaluate()->set_first_sequence(0);
  task.mutable_evaluate()->set_sequence_count(1);
  const v1::TaskResult result = Execute(task);
  ASSERT_FALSE(result.has_error()) << result.error().message();
  EXPECT_THAT(result.evaluate().nll_sums(),
              ElementsAre(FakeNll(Subnet::Dense(TinyConfig()), TinyConfig(), text_.tokens.data(),
                                  text_.sequence_length, false)));
}

// Reformed weights that are not at hand are made from the statistics, which must be.
TEST_F(TaskExecutorTest, ReformsWhatIsNotAtHand) {
  Calibrate();
  v1::Task evaluate = EvaluateTask();
  *evaluate.mutable_evaluate()->mutable_reformation() = ClosedForm();
  const v1::TaskResult cold = Execute(evaluate);
  ASSERT_FALSE(cold.has_error()) << cold.error().message();
  EXPECT_THAT(cold.evaluate().nll_sums(), ElementsAre(ExpectedNll(1, true), ExpectedNll(2, true)));
  EXPECT_EQ(fake_->counts().calibrations, 1);
  EXPECT_EQ(fake_->counts().reformations, 1);
  EXPECT_EQ(cold.seconds(), 3);  // of the evaluation alone

  EXPECT_EQ(Execute(evaluate).SerializeAsString(), cold.SerializeAsString());
  EXPECT_FALSE(Execute(ExportTask()).has_error());
  EXPECT_EQ(fake_->counts().calibrations, 1);
  EXPECT_EQ(fake_->counts().reformations, 1);
}

// All stages of a replica must calibrate together, so none does so on its own.
TEST_F(TaskExecutorTest, WithoutStatisticsItDoesNotReform) {
  const v1::TaskResult result = Execute(ExportTask());
  EXPECT_EQ(result.error().code(), Code(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(result.error().message(), HasSubstr("calibrate first"));
  EXPECT_EQ(fake_->counts().calibrations, 0);
}

TEST_F(TaskExecutorTest, ReformReportsErrorsAlsoFromTheCache) {
  Calibrate();
  v1::Task task = MakeTask();
  *task.mutable_reform()->mutable_subnet() = ToMessage(TinySubnet());
  *task.mutable_reform()->mutable_reformation() = ClosedForm();
  const v1::TaskResult first = Execute(task);
  ASSERT_FALSE(first.has_error()) << first.error().message();
  ASSERT_EQ(first.reform().errors_size(), 3);
  EXPECT_EQ(first.reform().errors(1).layer(), 1);
  EXPECT_TRUE(first.reform().errors(1).mlp());
  EXPECT_GT(first.reform().errors(1).before(), first.reform().errors(1).after());
  EXPECT_EQ(Execute(task).reform().SerializeAsString(), first.reform().SerializeAsString());
  EXPECT_EQ(fake_->counts().reformations, 1);
}

TEST_F(TaskExecutorTest, ExportsAFolderThatOpens) {
  Calibrate();
  const v1::TaskResult result = Execute(ExportTask());
  ASSERT_FALSE(result.has_error()) << result.error().message();
  std::vector<std::string> names;
  int64_t bytes = 0;
  std::filesystem::create_directories(folder_ / "out/compact");
  for (const auto& [name, contents] : sink_.files) {
    names.push_back(name);
    bytes += static_cast<int64_t>(contents.size());
    const std::string target =
        name == "compact/model.safetensors.part-0" ? "compact/model.safetensors" : name;
    ASSERT_TRUE(WriteFileAtomically(folder_ / "out" / target, contents).ok());
  }
  EXPECT_THAT(names,
              UnorderedElementsAre("compact/model.safetensors.part-0", "compact/config.json",
                                   "compact/tokenizer.json", "compact/tokenizer_config.json"));
  EXPECT_EQ(result.export_().bytes(), bytes);

  const auto compact = OpenModelFolder(folder_ / "out/compact");
  ASSERT_TRUE(compact.ok()) << compact.status();
  EXPECT_EQ(compact->config, TinyConfig());
  EXPECT_EQ(compact->masks, TinySubnet());
  const auto embedding = compact->tensors->Get("model.embed_tokens.weight");
  ASSERT_TRUE(embedding.ok()) << embedding.status();
  EXPECT_EQ(embedding->dtype, DType::kBFloat16);  // as the dense model on disk
}

TEST_F(TaskExecutorTest, ExportThatIsTooShortIsAnError) {
  Calibrate();
  fake_->TruncateExports();
  const v1::TaskResult result = Execute(ExportTask());
  EXPECT_EQ(result.error().code(), Code(absl::StatusCode::kInternal));
  EXPECT_THAT(result.error().message(), HasSubstr("1 bytes shorter"));
  EXPECT_EQ(sink_.files.count("compact/model.safetensors.part-0"), 0u);
}

TEST_F(TaskExecutorTest, ErrorsOfTheSinkComeBack) {
  Calibrate();
  sink_.failure = absl::ResourceExhaustedError("the coordinator's disk is full");
  const v1::TaskResult result = Execute(ExportTask());
  EXPECT_EQ(result.error().code(), Code(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(result.error().message(), HasSubstr("disk is full"));
}

TEST_F(TaskExecutorTest, ErrorsOfTheEngineComeBackAndTheNextTaskRuns) {
  fake_->FailNext(absl::ResourceExhaustedError("needs 40 GB, has 24 GB"));
  const v1::TaskResult result = Execute(EvaluateTask());
  EXPECT_EQ(result.task_id(), 11u);
  EXPECT_EQ(result.epoch(), 5u);
  EXPECT_EQ(result.error().code(), Code(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(result.error().message(), "needs 40 GB, has 24 GB");
  EXPECT_EQ(result.outcome_case(), v1::TaskResult::OUTCOME_NOT_SET);
  EXPECT_FALSE(Execute(EvaluateTask()).has_error());
}

TEST_F(TaskExecutorTest, NoExceptionEscapes) {
  fake_->ThrowNext(FakeEngineControl::Exception::kRuntimeError);
  const v1::TaskResult thrown = Execute(EvaluateTask());
  EXPECT_EQ(thrown.error().code(), Code(absl::StatusCode::kInternal));
  EXPECT_THAT(thrown.error().message(), HasSubstr("thrown on demand"));
  fake_->ThrowNext(FakeEngineControl::Exception::kBadAlloc);
  EXPECT_EQ(Execute(EvaluateTask()).error().code(), Code(absl::StatusCode::kResourceExhausted));
  EXPECT_FALSE(Execute(EvaluateTask()).has_error());
}

TEST_F(TaskExecutorTest, CancelledBeforeItBeginsItDoesNothing) {
  control_.Cancel();
  EXPECT_EQ(Execute(EvaluateTask()).error().code(), Code(absl::StatusCode::kCancelled));
  EXPECT_EQ(fake_->counts().loads, 0);
}

TEST_F(TaskExecutorTest, CancelledWhileTheEngineWorks) {
  fake_->Block();
  std::thread canceller([this] {
    EXPECT_TRUE(fake_->WaitUntilBlocked());
    control_.Cancel();
  });
  const v1::TaskResult result = Execute(EvaluateTask());
  canceller.join();
  EXPECT_EQ(result.error().code(), Code(absl::StatusCode::kCancelled));
}

TEST_F(TaskExecutorTest, MalformedTasksAreRefused) {
  EXPECT_EQ(Execute(MakeTask()).error().code(), Code(absl::StatusCode::kInvalidArgument));

  v1::Task task = EvaluateTask();
  task.mutable_evaluate()->set_data_set("unknown");
  EXPECT_EQ(Execute(task).error().code(), Code(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(Execute(task).error().message(), HasSubstr("'unknown'"));

  task = EvaluateTask();
  task.mutable_evaluate()->set_sequence_count(5);
  EXPECT_EQ(Execute(task).error().code(), Code(absl::StatusCode::kInvalidArgument));

  task = EvaluateTask();
  task.mutable_evaluate()->mutable_subnet()->mutable_layers(1)->set_mlp("?");
  EXPECT_EQ(Execute(task).error().code(), Code(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Execute(task).error().message(), HasSubstr("layer 1, mlp"));

  task = EvaluateTask();
  *task.mutable_evaluate()->mutable_reformation() = ClosedForm();
  task.mutable_evaluate()->mutable_reformation()->set_calibration("");
  EXPECT_EQ(Execute(task).error().code(), Code(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(fake_->counts().evaluations, 0);
}

TEST_F(TaskExecutorTest, ProgressSpansTheWholeTask) {
  Calibrate();
  v1::Task task = EvaluateTask();
  *task.mutable_evaluate()->mutable_reformation() = ClosedForm();
  std::vector<std::pair<std::string, double>> seen;
  TaskControl* watched = nullptr;
  TaskControl control([&] { seen.emplace_back(watched->activity(), watched->progress()); });
  watched = &control;
  ASSERT_FALSE(executor_.Execute(task, &control).has_error());
  // Each engine call reports its half; the reformation is the task's first half.
  std::vector<double> steps;
  for (const auto& [activity, progress] : seen) {
    if (steps.empty() || steps.back() != progress) steps.push_back(progress);
  }
  EXPECT_THAT(steps, ElementsAre(0, ::testing::DoubleEq(0.25), ::testing::DoubleEq(0.75)));
  EXPECT_EQ(seen.back().first, "scoring a subnet on 2 sequences");
}

}  // namespace
}  // namespace espalier
