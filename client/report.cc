#include "client/report.h"

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/format.h"
#include "common/job_spec.h"
#include "common/text_format.h"

namespace espalier {
namespace {

struct Row {
  const char* name;
  const v1::Measurement& (v1::Result::*measurement)() const;
};
constexpr std::array<Row, 4> kRows = {{{"dense", &v1::Result::dense},
                                       {"initial", &v1::Result::initial},
                                       {"searched", &v1::Result::searched},
                                       {"reformed", &v1::Result::reformed}}};

std::string MeasurementTable(const v1::Result& result) {
  TextTable table({{""},
                   {"parameters", Align::kRight},
                   {"ratio", Align::kRight},
                   {"perplexity", Align::kRight},
                   {"tokens/s", Align::kRight}});
  for (const Row& row : kRows) {
    const v1::Measurement& measurement = (result.*row.measurement)();
    table.AddRow({row.name, FormatCount(measurement.parameters()),
                  FormatPercent(measurement.ratio()), FormatPerplexity(measurement.perplexity()),
                  FormatRate(measurement.tokens_per_second())});
  }
  return table.ToString();
}

std::string TextNote(const v1::Result& result, const JobSpec& spec) {
  if (result.held_out()) {
    return absl::StrCat("Perplexity on the held-out text ", spec.eval_text.path, ".\n");
  }
  return absl::StrCat(
      "No evaluation text was given: these perplexities are on the calibration text\n", "(",
      spec.text.path, "), which the search has seen. Give --eval-text for held-out figures.\n");
}

// In single quotes where a shell would need them.
std::string ShellQuoted(std::string_view text) {
  constexpr std::string_view kSafe =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,";
  if (!text.empty() && text.find_first_not_of(kSafe) == std::string_view::npos) {
    return std::string(text);
  }
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

std::string NextSteps(const v1::Result& result, const JobSpec& spec) {
  const TextSpec& text = result.held_out() ? spec.eval_text : spec.text;
  const char* format = text.format == TextFormat::kWikiText ? "wikitext" : "plain";
  return absl::StrCat(
      "  subnet.json  masks, sizes of every layer, where they come from\n",
      "  compact/     the small model; score it again or on another text with\n",
      "               espalier eval --model ", ShellQuoted(result.output() + "/compact"),
      " --text ", ShellQuoted(text.path), " --text-format ", format, "\n",
      "  padded/      the same with zeros in the dense shapes, for any LLaMA program, e.g.\n",
      "               transformers.AutoModelForCausalLM.from_pretrained(\"", result.output(),
      "/padded\")\n");
}

nlohmann::ordered_json Measured(double value) {
  return value == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(value);
}

}  // namespace

std::string ClosingReport(const v1::Result& result, const JobSpec& spec) {
  return absl::StrCat(MeasurementTable(result), "\n", TextNote(result, spec), "Took ",
                      FormatDuration(result.seconds()), ", ", FormatCount(result.candidates()),
                      " candidates scored.\n\n", "Result: ", result.output(), "\n",
                      NextSteps(result, spec));
}

std::string ClosingReport(const v1::Job& job, const JobSpec& spec) {
  if (job.progress().sizes() <= 1) return ClosingReport(job.results(0), spec);
  const v1::Result& last = *job.results().rbegin();
  TextTable table({{"size"},
                   {"parameters", Align::kRight},
                   {"ratio", Align::kRight},
                   {"initial", Align::kRight},
                   {"searched", Align::kRight},
                   {"reformed", Align::kRight},
                   {"tokens/s", Align::kRight},
                   {"took", Align::kRight}});
  table.AddRow({"dense", FormatCount(last.dense().parameters()), FormatPercent(1), "", "",
                FormatPerplexity(last.dense().perplexity()),
                FormatRate(last.dense().tokens_per_second()), ""});
  double seconds = 0;
  int64_t candidates = 0;
  for (const v1::Result& result : job.results()) {
    const v1::Measurement& small = result.reformed();
    table.AddRow({std::filesystem::path(result.output()).filename().string(),
                  FormatCount(small.parameters()), FormatPercent(small.ratio()),
                  FormatPerplexity(result.initial().perplexity()),
                  FormatPerplexity(result.searched().perplexity()),
                  FormatPerplexity(small.perplexity()), FormatRate(small.tokens_per_second()),
                  FormatDuration(result.seconds())});
    seconds += result.seconds();
    candidates += result.candidates();
  }
  return absl::StrCat(
      table.ToString(), "\n", TextNote(last, spec), "Took ", FormatDuration(seconds), ", ",
      FormatCount(candidates), " candidates scored.\n\n", "Results: ", job.output(),
      ", a folder for each size, and sizes.csv and sizes.svg\n", NextSteps(last, spec));
}

nlohmann::ordered_json ResultToJson(const v1::Result& result) {
  nlohmann::ordered_json json;
  for (const Row& row : kRows) {
    const v1::Measurement& measurement = (result.*row.measurement)();
    json[row.name] = {{"parameters", measurement.parameters()},
                      {"ratio", measurement.ratio()},
                      {"perplexity", Measured(measurement.perplexity())},
                      {"search_perplexity", Measured(measurement.search_perplexity())},
                      {"tokens_per_second", Measured(measurement.tokens_per_second())}};
  }
  json["output"] = result.output();
  json["held_out"] = result.held_out();
  json["candidates"] = result.candidates();
  json["seconds"] = result.seconds();
  return json;
}

nlohmann::ordered_json ResultToJson(const v1::Job& job) {
  if (job.progress().sizes() <= 1) return ResultToJson(job.results(0));
  nlohmann::ordered_json sizes = nlohmann::ordered_json::array();
  for (const v1::Result& result : job.results()) sizes.push_back(ResultToJson(result));
  return {{"sizes", std::move(sizes)}};
}

}  // namespace espalier
