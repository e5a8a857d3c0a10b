#include "proto/statistics_messages.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

LayerRanking LayerFromMessage(const v1::LayerRanking& message) {
  LayerRanking layer;
  for (const v1::AttentionCut& cut_message : message.attention()) {
    AttentionCut& cut = layer.attention.emplace_back();
    cut.error = cut_message.error();
    for (const std::string& bytes : cut_message.masks()) {
      cut.masks.push_back(
          Bitmask::FromBytes(static_cast<int64_t>(bytes.size()) * 8, bytes).value_or(Bitmask()));
    }
  }
  layer.channels = {message.channels().begin(), message.channels().end()};
  layer.channel_errors = {message.channel_errors().begin(), message.channel_errors().end()};
  return layer;
}

}  // namespace

v1::ScoreKind ToMessage(ScoreKind kind) {
  switch (kind) {
    case ScoreKind::kImportance:
      return v1::SCORE_KIND_IMPORTANCE;
    case ScoreKind::kMagnitude:
      return v1::SCORE_KIND_MAGNITUDE;
    case ScoreKind::kWanda:
      return v1::SCORE_KIND_WANDA;
    case ScoreKind::kFluctuation:
      return v1::SCORE_KIND_FLUCTUATION;
  }
  return v1::SCORE_KIND_IMPORTANCE;
}

absl::StatusOr<ScoreKind> ScoreKindFromMessage(v1::ScoreKind message) {
  for (const ScoreKind kind : {ScoreKind::kImportance, ScoreKind::kMagnitude, ScoreKind::kWanda,
                               ScoreKind::kFluctuation}) {
    if (ToMessage(kind) == message) return kind;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unit scores of kind ", static_cast<int>(message),
                   " are asked for, which this version does not know; use the same build "
                   "everywhere"));
}

void WriteUnitScores(const UnitScores& scores, v1::CalibrateOutcome* outcome) {
  for (const LayerScores& layer : scores.layers) {
    v1::LayerUnitScores* message = outcome->add_layers();
    for (const std::vector<double>& pairs : layer.attention) {
      message->add_attention()->mutable_pairs()->Add(pairs.begin(), pairs.end());
    }
    message->mutable_mlp()->Add(layer.mlp.begin(), layer.mlp.end());
  }
}

void WriteRanking(const Ranking& ranking, v1::CalibrateOutcome* outcome) {
  for (const LayerRanking& layer : ranking.layers) {
    v1::LayerRanking* message = outcome->add_ranking();
    for (const AttentionCut& cut : layer.attention) {
      v1::AttentionCut* cut_message = message->add_attention();
      for (const Bitmask& mask : cut.masks) cut_message->add_masks(mask.bytes());
      cut_message->set_error(cut.error);
    }
    message->mutable_channels()->Add(layer.channels.begin(), layer.channels.end());
    message->mutable_channel_errors()->Add(layer.channel_errors.begin(),
                                           layer.channel_errors.end());
  }
}

UnitScores UnitScoresFromMessage(const v1::CalibrateOutcome& outcome) {
  UnitScores scores;
  for (const v1::LayerUnitScores& message : outcome.layers()) {
    LayerScores& layer = scores.layers.emplace_back();
    for (const auto& group : message.attention()) {
      layer.attention.emplace_back(group.pairs().begin(), group.pairs().end());
    }
    layer.mlp.assign(message.mlp().begin(), message.mlp().end());
  }
  return scores;
}

Ranking RankingFromMessage(const v1::CalibrateOutcome& outcome) {
  Ranking ranking;
  for (const v1::LayerRanking& message : outcome.ranking()) {
    ranking.layers.push_back(LayerFromMessage(message));
  }
  return ranking;
}

}  // namespace espalier
