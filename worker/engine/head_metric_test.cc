// The head's metric against the divergence itself.
#include "worker/engine/head_metric.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/model_folder.h"
#include "worker/engine/test_model.h"

namespace espalier {
namespace {

class HeadMetricTest : public ::testing::Test {
 protected:
  HeadMetricTest() : model_(Load()) {
    at::manual_seed(5);
    // 300 rows of different lengths, so that more than two tiles are added up.
    x_ = at::randn({300, model_.config.hidden_size}) * at::rand({300, 1}).mul(3).exp();
    // A head that is sure of some things: the test model's logits are all nearly the same.
    model_.head = model_.head * 20;
    model_.final_norm = at::rand({model_.config.hidden_size}) + 0.5;
  }

  static ResidentModel Load() {
    const auto folder = OpenModelFolder(WriteTestModel(TestConfig(6, 3, false), 3, "metric"));
    EXPECT_TRUE(folder.ok()) << folder.status();
    return *LoadResidentModel(*folder, WholeModel(folder->config), at::kFloat, at::kCPU);
  }

  // ln p, float64 [n, V].
  at::Tensor LogP(const at::Tensor& x) const {
    const at::Tensor normal =
        x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + model_.config.rms_norm_eps);
    const at::Tensor z =
        at::mm(normal * model_.final_norm.to(at::kDouble), model_.head.to(at::kDouble).t());
    return at::log_softmax(z, -1);
  }
  // Mean over rows of KL(x ‖ x + δ).
  double Divergence(const at::Tensor& change) const {
    const at::Tensor x = x_.to(at::kDouble);
    const at::Tensor before = LogP(x);
    return (before.exp() * (before - LogP(x + change))).sum(-1).mean().item<double>();
  }

  ResidentModel model_;
  at::Tensor x_;
  ThreadPool pool_{2};
};

TEST_F(HeadMetricTest, IsTwiceTheDivergenceOfASmallChange) {
  const c10::InferenceMode no_autograd;
  const at::Tensor metric = HeadMetric(model_, x_, &pool_).to(at::kDouble);
  EXPECT_LT((metric - metric.t()).abs().max().item<double>(),
            1e-5 * metric.abs().max().item<double>());
  for (int i = 0; i < 5; ++i) {
    const at::Tensor change = at::randn({1, model_.config.hidden_size}, at::kDouble) * 1e-4;
    const double expected = 2 * Divergence(change);
    ASSERT_GT(expected, 0);
    EXPECT_NEAR(at::mm(at::mm(change, metric), change.t()).item<double>(), expected,
                2e-3 * expected);
  }
}

TEST_F(HeadMetricTest, DoesNotSeeTheLengthOfARow) {
  const c10::InferenceMode no_autograd;
  const at::Tensor row = x_.narrow(0, 7, 1).contiguous();
  const at::Tensor metric = HeadMetric(model_, row, &pool_);
  const double along = at::mm(at::mm(row, metric), row.t()).item<double>();
  EXPECT_NEAR(along, 0, 1e-5 * (metric.trace() * row.square().sum()).item<double>());
}

TEST_F(HeadMetricTest, DoesNotDependOnThreads) {
  const c10::InferenceMode no_autograd;
  ThreadPool one(1);
  EXPECT_TRUE(at::equal(HeadMetric(model_, x_, &one), HeadMetric(model_, x_, &pool_)));
}

}  // namespace
}  // namespace espalier
