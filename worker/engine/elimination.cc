#include "worker/engine/elimination.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/statistics.h"
#include "worker/engine/value_bases.h"

namespace espalier {
namespace {

// Of the Gram matrices' mean diagonal. The order hardly depends on it; a smaller one makes the
// elimination of the last inputs unstable in float32.
constexpr double kDamping = 1e-2;
constexpr int64_t kChannelsAtOnce = 8;
// Numbers of whole groups that go, at most so many.
constexpr int64_t kGroupVariants = 8;
constexpr float kNever = std::numeric_limits<float>::infinity();

// What is left of a linear while inputs go.
class Remainder {
 public:
  static absl::StatusOr<Remainder> Of(const at::Tensor& weights, const at::Tensor& gram,
                                      const Warner& warn) {
    ESPALIER_ASSIGN_OR_RETURN(const Cholesky factor, DampedCholesky(gram, kDamping, warn));
    return Remainder(weights.to(at::kFloat).clone(),
                     at::cholesky_inverse(factor.lower).to(at::kFloat).contiguous());
  }
  Remainder Clone() const { return {weights_.clone(), inverse_.clone()}; }

  // Cost of removing each single input: ‖W_j‖² / (H⁻¹)_jj. [in]
  at::Tensor Costs() const {
    return at::linalg_vector_norm(weights_, 2, 1).square_() / inverse_.diagonal();
  }

  // The same for sets of inputs, [sets, size] indices: [sets].
  at::Tensor Costs(const at::Tensor& sets) const {
    const at::Tensor corner = inverse_.index({sets.unsqueeze(2), sets.unsqueeze(1)});
    const at::Tensor rows = weights_.index({sets});  // [sets, size, out]
    return (at::linalg_solve(corner, rows) * rows).sum({1, 2});
  }

  // Removes inputs and says what that costs. Their rows and columns become those of the identity,
  // so that indices stay and further removals do not touch them.
  double Remove(const at::Tensor& inputs) {
    const at::Tensor rows = inverse_.index_select(0, inputs);  // [c, in]
    const at::Tensor corner = rows.index_select(1, inputs);
    const at::Tensor gone = weights_.index_select(0, inputs);
    const double cost = (at::linalg_solve(corner, gone) * gone).sum(at::kDouble).item<double>();
    const at::Tensor factor = at::linalg_solve(corner, rows);  // [c, in]
    weights_.addmm_(factor.t(), gone, 1, -1);
    inverse_.addmm_(rows.t(), factor, 1, -1);
    weights_.index_fill_(0, inputs, 0.0);
    inverse_.index_fill_(0, inputs, 0.0);
    inverse_.index_fill_(1, inputs, 0.0);
    inverse_.diagonal().index_fill_(0, inputs, 1.0);
    return std::max(cost, 0.0);
  }

  // Forgets all inputs but these.
  void Keep(const at::Tensor& inputs) {
    weights_ = weights_.index_select(0, inputs);
    inverse_ = inverse_.index_select(0, inputs).index_select(1, inputs);
  }

 private:
  Remainder(at::Tensor weights, at::Tensor inverse)
      : weights_(std::move(weights)), inverse_(std::move(inverse)) {}

  at::Tensor weights_;  // [in, out]
  at::Tensor inverse_;  // [in, in]
};

// Of a linear that gives nothing, nothing is lost; what its inputs cost is the damping.
double Relative(double cost, double energy) { return energy > 0 ? cost / energy : 0; }

// Inputs of o in directions 2j and 2j + 1 of each group's values, for all j: [G, h/2, 2r].
at::Tensor DirectionInputs(const ModelConfig& config) {
  const int64_t r = config.queries_per_group();
  return at::arange(config.num_kv_heads * r * 2 * config.pairs(), at::kLong)
      .view({config.num_kv_heads, r, config.pairs(), 2})
      .transpose(1, 2)
      .flatten(2)
      .contiguous();
}

// The attention while pairs and groups go.
struct AttentionState {
  Remainder linear;
  std::vector<Bitmask> masks;
  double error = 0;
};

class AttentionEliminator {
 public:
  AttentionEliminator(const at::Tensor& effects, double energy, const ModelConfig& config,
                      const CutSteps& steps, const Control& control, at::Device device)
      : effects_(effects),
        energy_(energy),
        inputs_(DirectionInputs(config).to(device)),
        steps_(steps),
        control_(control),
        groups_(config.num_kv_heads),
        pairs_(config.pairs()) {}

  // Ends early when the caller asked to stop.
  void Run(AttentionState state, std::vector<AttentionCut>* cuts) const {
    const int64_t variant = (groups_ + kGroupVariants - 1) / kGroupVariants;
    std::vector<int64_t> present;
    for (int64_t g = 0; g < groups_; ++g) present.push_back(g);
    for (;;) {
      if (std::ssize(present) < groups_) cuts->push_back({state.masks, state.error});
      if ((groups_ - std::ssize(present)) % variant == 0) Thin(state, present, cuts);
      if (present.size() == 1 || Cancelled(control_)) return;
      RemoveGroup(&state, &present);
    }
  }

 private:
  // The group whose removal costs least, from o's inputs alone: its pattern goes with it.
  void RemoveGroup(AttentionState* state, std::vector<int64_t>* present) const {
    const at::Tensor sets = inputs_.index_select(0, Groups(*present)).flatten(1);  // [n, r · h]
    const int64_t place = state->linear.Costs(sets).argmin().item<int64_t>();
    state->error += Relative(state->linear.Remove(sets[place]), energy_);
    state->masks[(*present)[place]] = Bitmask(pairs_);
    present->erase(present->begin() + place);
  }

  // A pair of every group at a time, that of the least effect, and the last directions.
  void Thin(const AttentionState& whole, const std::vector<int64_t>& present,
            std::vector<AttentionCut>* cuts) const {
    AttentionState state{whole.linear.Clone(), whole.masks, whole.error};
    const at::Tensor inputs = inputs_.index_select(0, Groups(present));  // [n, h/2, 2r]
    const at::Tensor order = effects_.argsort(/*stable=*/true, 1);       // [G, h/2]
    for (int64_t left = pairs_ - 1; left > 0 && !Cancelled(control_); --left) {
      for (const int64_t group : present) {
        const auto pair = order[group][pairs_ - 1 - left].item<int64_t>();
        state.error += effects_[group][pair].item<double>();
        state.masks[group].Set(pair, false);
      }
      state.error += Relative(state.linear.Remove(inputs.select(1, left).flatten()), energy_);
      if (left % steps_.pairs == 0) cuts->push_back({state.masks, state.error});
    }
  }

  at::Tensor Groups(const std::vector<int64_t>& groups) const {
    return at::tensor(groups, at::kLong).to(inputs_.device());
  }

  const at::Tensor effects_;  // [G, h/2] float64, in host memory
  const double energy_;
  const at::Tensor inputs_;
  const CutSteps steps_;
  const Control& control_;
  const int64_t groups_;
  const int64_t pairs_;
};

}  // namespace

absl::Status EliminateChannels(const at::Tensor& down_transposed, const at::Tensor& gram,
                               const CutSteps& steps, const Control& control, const Warner& warn,
                               LayerRanking* ranking) {
  const double energy = OutputEnergy(down_transposed, gram);
  ESPALIER_ASSIGN_OR_RETURN(Remainder linear, Remainder::Of(down_transposed, gram, warn));
  const int64_t channels = down_transposed.size(0);
  const auto device = down_transposed.device();
  const auto none_of = [&](int64_t n) {
    return at::zeros({n}, at::TensorOptions().dtype(at::kBool).device(device));
  };
  // The channel of each remaining input.
  at::Tensor live = at::arange(channels, at::TensorOptions().dtype(at::kLong).device(device));
  at::Tensor is_gone = none_of(channels);
  ranking->channel_errors.assign((channels + steps.channels - 1) / steps.channels, 0.0);
  double error = 0;
  for (int64_t left = channels; left > 0;) {
    if (Cancelled(control)) return CancelledError();
    const int64_t next_size = (left - 1) / steps.channels * steps.channels;
    const int64_t count = std::min(kChannelsAtOnce, left - next_size);
    const at::Tensor costs = linear.Costs().masked_fill(is_gone, kNever);
    const at::Tensor chosen = std::get<1>(costs.topk(count, 0, /*largest=*/false));
    error += Relative(linear.Remove(chosen), energy);
    is_gone.index_fill_(0, chosen, true);
    const at::Tensor names = live.index_select(0, chosen).to(at::kCPU);
    for (int64_t i = 0; i < count; ++i) {
      ranking->channels.push_back(static_cast<int32_t>(names[i].item<int64_t>()));
    }
    left -= count;
    if (left % steps.channels == 0) ranking->channel_errors[left / steps.channels] = error;
    if (4 * left < 3 * is_gone.size(0)) {
      const at::Tensor kept = is_gone.logical_not().nonzero().squeeze(1);
      linear.Keep(kept);
      live = live.index_select(0, kept);
      is_gone = none_of(left);
    }
  }
  return absl::OkStatus();
}

absl::Status EliminateAttention(const at::Tensor& o_transposed, const at::Tensor& gram,
                                const at::Tensor& bases, const at::Tensor& effects,
                                const ModelConfig& config, const CutSteps& steps,
                                const Control& control, const Warner& warn, LayerRanking* ranking) {
  ESPALIER_ASSIGN_OR_RETURN(Remainder linear, Remainder::Of(InBases(bases, o_transposed),
                                                            GramInBases(bases, gram), warn));
  const AttentionEliminator eliminator(effects, OutputEnergy(o_transposed, gram), config, steps,
                                       control, o_transposed.device());
  eliminator.Run({std::move(linear),
                  std::vector<Bitmask>(config.num_kv_heads, Bitmask(config.pairs(), true)), 0},
                 &ranking->attention);
  return Cancelled(control) ? CancelledError() : absl::OkStatus();
}

}  // namespace espalier
