#include "coordinator/search/population_log.h"

#include <array>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/subnet.h"

namespace espalier {
namespace {

std::string Shortest(double value) {
  std::array<char, 32> digits;  // "-2.2250738585072014e-308" has 24
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return {digits.data(), end};
}

std::string Parents(const std::vector<CandidateId>& parents) {
  return absl::StrJoin(parents, ",", [](std::string* out, const CandidateId& id) {
    absl::StrAppend(out, "[", id.generation, ",", id.slot, "]");
  });
}

// Nothing for the default: the log of a search without windows has no such key.
std::string Window(const SequenceWindow& window) {
  if (window == SequenceWindow{}) return "";
  return absl::StrCat(",\"window\":[", window.first, ",", window.count, "]");
}

}  // namespace

// Written by hand: all values are numbers or of fixed alphabets, so that nothing needs escaping.
std::string PopulationLogLine(const Candidate& candidate, double fitness,
                              const ModelConfig& config) {
  const auto append_pairs = [](std::string* out, const LayerMask& layer) {
    absl::StrAppend(out, layer.KeptPairs());
  };
  const auto append_channels = [](std::string* out, const LayerMask& layer) {
    absl::StrAppend(out, layer.mlp.Count());
  };
  // Counted once: it is done for every candidate.
  const int64_t parameters = CountParameters(candidate.subnet, config);
  const double ratio =
      static_cast<double>(parameters) / static_cast<double>(DenseParameters(config));
  return absl::StrCat(
      "{\"generation\":", candidate.id.generation, ",\"slot\":", candidate.id.slot,
      ",\"origin\":\"", std::string(OriginName(candidate.origin)), "\",\"parents\":[",
      Parents(candidate.parents), "],\"parameters\":", parameters, ",\"ratio\":", Shortest(ratio),
      ",\"fitness\":", std::isfinite(fitness) ? Shortest(fitness) : "null",
      Window(candidate.window), ",\"fingerprint\":\"", candidate.fingerprint, "\",\"pairs\":[",
      absl::StrJoin(candidate.subnet.layers, ",", append_pairs), "],\"channels\":[",
      absl::StrJoin(candidate.subnet.layers, ",", append_channels), "]}\n");
}

}  // namespace espalier
