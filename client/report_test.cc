#include "client/report.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

void Fill(v1::Measurement* row, int64_t parameters, double ratio, double perplexity) {
  row->set_parameters(parameters);
  row->set_ratio(ratio);
  row->set_perplexity(perplexity);
  row->set_tokens_per_second(1234);
}

v1::Result SomeResult() {
  v1::Result result;
  Fill(result.mutable_dense(), 4000000, 1, 12.5);
  Fill(result.mutable_initial(), 2800000, 0.7, 45.25);
  Fill(result.mutable_searched(), 2790000, 0.6975, 31);
  Fill(result.mutable_reformed(), 2790000, 0.6975, 18.75);
  result.mutable_searched()->set_search_perplexity(30);
  result.mutable_initial()->set_tokens_per_second(0);
  result.set_output("/results/my run");
  result.set_held_out(true);
  result.set_candidates(5001);
  result.set_seconds(90);
  return result;
}

JobSpec SomeSpec() {
  JobSpec spec;
  spec.text = {.path = "/texts/valid.txt", .format = TextFormat::kPlain};
  spec.eval_text = {.path = "/texts/test.txt", .format = TextFormat::kWikiText};
  return spec;
}

TEST(ClosingReportTest, ShowsTheTableTheTextAndTheNextSteps) {
  EXPECT_EQ(ClosingReport(SomeResult(), SomeSpec()),
            "          parameters   ratio  perplexity  tokens/s\n"
            "dense      4,000,000  100.0%       12.50     1,234\n"
            "initial    2,800,000   70.0%       45.25         -\n"
            "searched   2,790,000   69.8%       31.00     1,234\n"
            "reformed   2,790,000   69.8%       18.75     1,234\n"
            "\n"
            "Perplexity on the held-out text /texts/test.txt.\n"
            "Took 1m 30s, 5,001 candidates scored.\n"
            "\n"
            "Result: /results/my run\n"
            "  subnet.json  masks, sizes of every layer, where they come from\n"
            "  compact/     the small model; score it again or on another text with\n"
            "               espalier eval --model '/results/my run/compact' --text /texts/test.txt "
            "--text-format wikitext\n"
            "  padded/      the same with zeros in the dense shapes, for any LLaMA program, e.g.\n"
            "               transformers.AutoModelForCausalLM.from_pretrained(\"/results/my "
            "run/padded\")\n");
}

TEST(ClosingReportTest, SeveralSizesHaveARowEach) {
  v1::Job job;
  job.set_output("/results/sizes");
  job.mutable_progress()->set_sizes(2);
  *job.add_results() = SomeResult();
  *job.add_results() = SomeResult();
  job.mutable_results(0)->set_output("/results/sizes/0.7");
  job.mutable_results(1)->set_output("/results/sizes/0.5");
  Fill(job.mutable_results(1)->mutable_reformed(), 2000000, 0.5, 40);
  const std::string report = ClosingReport(job, SomeSpec());
  EXPECT_THAT(
      report,
      StartsWith("size   parameters   ratio  initial  searched  reformed  tokens/s    took\n"
                 "dense   4,000,000  100.0%                        12.50     1,234\n"
                 "0.7     2,790,000   69.8%    45.25     31.00     18.75     1,234  1m 30s\n"
                 "0.5     2,000,000   50.0%    45.25     31.00     40.00     1,234  1m 30s\n"));
  EXPECT_THAT(report, HasSubstr("Took 3m 00s, 10,002 candidates scored."));
  EXPECT_THAT(report, HasSubstr("Results: /results/sizes, a folder for each size"));
  EXPECT_EQ(ResultToJson(job)["sizes"].size(), 2);

  job.mutable_progress()->set_sizes(1);
  EXPECT_EQ(ClosingReport(job, SomeSpec()), ClosingReport(job.results(0), SomeSpec()));
}

TEST(ClosingReportTest, SaysWhenTheFiguresAreNotHeldOut) {
  v1::Result result = SomeResult();
  result.set_held_out(false);
  const std::string report = ClosingReport(result, SomeSpec());
  EXPECT_THAT(report, HasSubstr("on the calibration text\n(/texts/valid.txt)"));
  EXPECT_THAT(report, HasSubstr("--text /texts/valid.txt --text-format plain"));
}

TEST(ResultToJsonTest, HasTheDocumentedKeys) {
  const nlohmann::ordered_json json = ResultToJson(SomeResult());
  EXPECT_THAT(json.dump(), StartsWith(R"({"dense":{"parameters":4000000,"ratio":1.0,)"));
  EXPECT_EQ(json["initial"]["perplexity"], 45.25);
  EXPECT_EQ(json["searched"]["search_perplexity"], 30.0);
  EXPECT_EQ(json["reformed"]["ratio"], 0.6975);
  EXPECT_TRUE(json["reformed"]["search_perplexity"].is_null());
  EXPECT_TRUE(json["initial"]["tokens_per_second"].is_null());
  EXPECT_EQ(json["output"], "/results/my run");
  EXPECT_EQ(json["held_out"], true);
  EXPECT_EQ(json["candidates"], 5001);
  EXPECT_EQ(json["seconds"], 90.0);
}

}  // namespace
}  // namespace espalier
