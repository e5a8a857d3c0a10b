// What calibration yields, as messages and back: both ends of a stream and the store need it.
#ifndef ESPALIER_PROTO_STATISTICS_MESSAGES_H_
#define ESPALIER_PROTO_STATISTICS_MESSAGES_H_

#include "absl/status/statusor.h"
#include "common/importance.h"
#include "common/ranking.h"
#include "espalier/v1/worker.pb.h"

namespace espalier {

v1::ScoreKind ToMessage(ScoreKind kind);
// INVALID_ARGUMENT for a kind that another version may know.
absl::StatusOr<ScoreKind> ScoreKindFromMessage(v1::ScoreKind message);

void WriteUnitScores(const UnitScores& scores, v1::CalibrateOutcome* outcome);
void WriteRanking(const Ranking& ranking, v1::CalibrateOutcome* outcome);

UnitScores UnitScoresFromMessage(const v1::CalibrateOutcome& outcome);
// Masks have whole bytes: how many bits are meant, only the model's shape says.
Ranking RankingFromMessage(const v1::CalibrateOutcome& outcome);

}  // namespace espalier

#endif  // ESPALIER_PROTO_STATISTICS_MESSAGES_H_
