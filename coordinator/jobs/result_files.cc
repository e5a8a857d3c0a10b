#include "coordinator/jobs/result_files.h"

#include <cmath>

#include "common/version.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

using Json = nlohmann::ordered_json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json Text(const TextSpec& spec, const std::string& hash) {
  return {{"path", spec.path},
          {"format", spec.format == TextFormat::kWikiText ? "wikitext" : "plain"},
          {"sha256", hash}};
}

Json DataSet(const DataSetInfo& info) {
  return {
      {"sequences", info.count}, {"sequence_length", info.sequence_length}, {"sha256", info.hash}};
}

Json LayerSizes(const Subnet& subnet) {
  Json layers = Json::array();
  for (const LayerMask& layer : subnet.layers) {
    Json pairs = Json::array();
    for (const Bitmask& group : layer.attention) pairs.push_back(group.Count());
    layers.push_back({{"attention_pairs", std::move(pairs)}, {"mlp_channels", layer.mlp.Count()}});
  }
  return layers;
}

Json Provenance(const PreparedJob& job, const std::string& model_hash,
                const ScoredCandidate& best) {
  Json provenance = {
      {"espalier", std::string(kVersion)},
      {"model", {{"path", job.spec.model}, {"sha256", model_hash}}},
      {"text", Text(job.spec.text, job.text_hash)},
  };
  if (!job.eval_text_hash.empty()) {
    provenance["eval_text"] = Text(job.spec.eval_text, job.eval_text_hash);
  }
  provenance["calibration"] = DataSet(job.calibration);
  provenance["search"] = DataSet(job.search);
  provenance["evaluation"] = DataSet(job.eval);
  provenance["seed"] = job.spec.seed;
  provenance["candidate"] = {{"generation", best.candidate.id.generation},
                             {"slot", best.candidate.id.slot},
                             {"origin", std::string(OriginName(best.candidate.origin))},
                             {"fingerprint", best.candidate.fingerprint},
                             {"fitness", Number(best.fitness)}};
  provenance["spec"] = PortableSpec(job.spec);
  return provenance;
}

// 0: not measured.
Json Measured(double value) { return value > 0 ? Number(value) : Json(); }

Json Measurement(const MeasurementView& row) {
  return {{"parameters", row.parameters},
          {"ratio", row.ratio},
          {"perplexity", Measured(row.perplexity)},
          {"search_perplexity", Measured(row.search_perplexity)},
          {"tokens_per_second", Measured(row.tokens_per_second)}};
}

std::string Dump(const Json& json) {
  // Paths need not be UTF-8; JSON must.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string_view PhaseName(JobPhase phase) {
  switch (phase) {
    case JobPhase::kLoad:
      return "load";
    case JobPhase::kCalibrate:
      return "calibrate";
    case JobPhase::kInitialize:
      return "initialize";
    case JobPhase::kSearch:
      return "search";
    case JobPhase::kReform:
      return "reform";
    case JobPhase::kEvaluate:
      return "evaluate";
    case JobPhase::kExport:
      return "export";
  }
  return "";
}

std::string PortableSpec(JobSpec spec) {
  spec.name.clear();
  spec.output.clear();
  spec.stages = 0;  // nothing depends on these
  spec.priority = 0;
  return JobSpecToYaml(spec);
}

std::string SubnetJson(const PreparedJob& job, const std::string& model_hash,
                       const ScoredCandidate& best) {
  const Subnet& subnet = best.candidate.subnet;
  Json masks = Json::parse(MasksToJson(subnet), nullptr, /*allow_exceptions=*/false);
  const Json json = {{"masks", std::move(masks["masks"])},
                     {"layers", LayerSizes(subnet)},
                     {"parameters", CountParameters(subnet, job.config)},
                     {"dense_parameters", DenseParameters(job.config)},
                     {"ratio", ParameterRatio(subnet, job.config)},
                     {"provenance", Provenance(job, model_hash, best)}};
  return Dump(json);
}

std::string ReportJson(const ResultView& result, const std::vector<PhaseSeconds>& phases,
                       const std::vector<LinearFit>& fits) {
  Json json = {{"dense", Measurement(result.dense)},
               {"initial", Measurement(result.initial)},
               {"searched", Measurement(result.searched)},
               {"reformed", Measurement(result.reformed)},
               {"output", result.output},
               {"held_out", result.held_out},
               {"candidates", result.candidates},
               {"seconds", result.seconds}};
  Json seconds = Json::object();
  for (const PhaseSeconds& phase : phases) seconds[phase.phase] = phase.seconds;
  json["phase_seconds"] = std::move(seconds);
  json["work_seconds"] = {{"statistics", result.work.statistics},
                          {"repair", result.work.repair},
                          {"evaluation", result.work.evaluation},
                          {"reformation", result.work.reformation},
                          {"export", result.work.export_}};
  json["warnings"] = result.warnings;
  Json linears = Json::array();
  for (const LinearFit& fit : fits) {
    linears.push_back({{"layer", fit.layer},
                       {"linear", fit.mlp ? "down" : "o"},
                       {"error_before", Number(fit.before)},
                       {"error_after", Number(fit.after)}});
  }
  json["reformation"] = std::move(linears);
  return Dump(json);
}

}  // namespace espalier
