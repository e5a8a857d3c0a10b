// The fused CPU path.
//
// A layer runs in two passes over tiles of 128 rows with the attention between them: norm, q/k/v
// and rotation; then o, residual, norm, gate and up, SiLU, down and residual, all of it local to a
// row, so that a tile stays in a core's cache. Tiles are fixed by the shapes alone and each is
// computed by one thread: results do not depend on the number of threads.
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>

#include "worker/engine/backend.h"
#include "worker/engine/cpu_attention.h"
#include "worker/engine/cpu_kernels.h"
#include "worker/engine/cpu_loss.h"
#include "worker/engine/cpu_sums.h"
#include "worker/engine/packed_matrix.h"

namespace espalier {
namespace {

constexpr int64_t kTileRows = PackedMatrix::kMostRows;
constexpr int64_t kRowsAtOnce = 4096;  // of tokens, between two passes; whole sequences

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// A byte buffer that only grows.
class Buffer {
 public:
  char* Ensure(int64_t bytes) {
    if (!storage_.defined() || static_cast<int64_t>(storage_.nbytes()) < bytes) {
      storage_ = at::Tensor();
      storage_ = at::empty({bytes}, at::kByte);
    }
    return static_cast<char*>(storage_.data_ptr());
  }
  int64_t bytes() const { return storage_.defined() ? static_cast<int64_t>(storage_.nbytes()) : 0; }

 private:
  at::Tensor storage_;
};

// The rows of a replacement, or the selected ones of the resident matrix.
std::vector<const void*> Rows(const at::Tensor& replacement, const at::Tensor& resident,
                              const std::vector<int64_t>& rows) {
  const bool replaced = replacement.defined();
  const at::Tensor& matrix = replaced ? replacement : resident;
  const char* data = static_cast<const char*>(matrix.data_ptr());
  const auto row_bytes = static_cast<int64_t>(matrix.element_size()) * matrix.size(1);
  std::vector<const void*> pointers(replaced ? matrix.size(0) : std::ssize(rows));
  for (size_t i = 0; i < pointers.size(); ++i) {
    pointers[i] = data + (replaced ? static_cast<int64_t>(i) : rows[i]) * row_bytes;
  }
  return pointers;
}

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(ThreadPool* pool)
      : kernels_(BestCpuKernels()),
        pool_(pool),
        attention_(&kernels_, pool),
        loss_(&kernels_, pool),
        sums_(&kernels_, pool) {}

  at::Tensor Embed(const ResidentModel& model, const int32_t* tokens, int64_t rows) override;
  void RunLayer(const ResidentModel& model, int64_t layer, const LayerSelection& selection,
                int64_t sequences, int64_t length, at::Tensor* x,
                const LayerObserver& observer) override;
  at::Tensor Inner(const ResidentModel& model, int64_t layer, const LayerSelection& selection,
                   int64_t sequences, int64_t length, const at::Tensor& x) override;
  void AddOutput(const ResidentModel& model, int64_t layer, const LayerSelection& selection,
                 const at::Tensor& inner, at::Tensor* x) override;
  bool KeepsInner() const override { return true; }
  std::vector<LossSums> Losses(const ResidentModel& model, const at::Tensor& final_norm,
                               const at::Tensor& x, const int32_t* tokens, int64_t sequences,
                               int64_t length, const DenseRows* dense) override;
  DenseRows Predictions(const ResidentModel& model, const at::Tensor& x) override;
  void AccumulateGram(const at::Tensor& input, at::Tensor* gram) override {
    sums_.AccumulateGram(input, gram);
  }
  void FinishGram(at::Tensor* gram) override { CpuSums::FinishGram(gram); }
  void AccumulateProduct(const at::Tensor& left, const at::Tensor& right,
                         at::Tensor* product) override {
    sums_.AccumulateProduct(left, right, product);
  }
  int64_t scratch_bytes() const override { return scratch_bytes_; }
  int64_t activation_bytes() const override { return activation_bytes_; }

 private:
  // One layer's pieces that a row tile needs.
  struct Pass {
    const ResidentLayer* layer = nullptr;
    const LayerSelection* selection = nullptr;
    float eps = 0;
    int64_t d = 0;
    int64_t length = 0;
    int64_t attention_stride = 0;  // of the attention's output
    float* x = nullptr;            // first row of the group of sequences
    LayerInputs inputs;            // defined when observed
    bool outputs = true;           // o and down are computed too
  };

  ComputeType TypeFor(const ResidentModel& model) const;
  const RotaryTable& Rotary(const ModelConfig& config, int64_t length);
  // Of q, k, v, gate and up; of o and down.
  void PackInputs(const ResidentModel& model, const ResidentLayer& layer,
                  const LayerSelection& selection);
  void PackOutputs(const ResidentModel& model, const ResidentLayer& layer,
                   const LayerSelection& selection);
  at::ScalarType InputType() const {
    return type_ == ComputeType::kFloat32 ? at::kFloat : at::kBFloat16;
  }
  Pass Begin(const ResidentModel& model, int64_t layer, const LayerSelection& selection,
             int64_t length);
  template <typename Body>
  void ForGroups(int64_t sequences, int64_t length, Body body);
  void RunGroup(const ResidentModel& model, Pass* pass, int64_t sequences,
                const LayerObserver& observer);
  void ProjectTile(const Pass& pass, int64_t row0, int64_t rows, int thread);
  void OutputTile(const Pass& pass, int64_t row0, int64_t rows);
  void MlpTile(const Pass& pass, int64_t row0, int64_t rows, int thread);
  void Normalise(const Pass& pass, const at::Tensor& weight, int64_t row0, int64_t rows, char* out,
                 float* row_scratch) const;
  static void AddProduct(const PackedMatrix& matrix, const void* a, int64_t lda, int64_t rows,
                         float* x, int64_t d);
  static void AddBias(const at::Tensor& replacement, const at::Tensor& resident, int64_t rows,
                      int64_t d, float* x);
  void Observe(const at::Tensor& target, int64_t row0, int64_t rows, const char* a,
               int64_t lda) const;
  void NoteMemory(const at::Tensor& x, const LayerInputs& inputs);

  const CpuKernels& kernels_;
  ThreadPool* pool_;
  const ComputeType best_ = BestTypeForBFloat16();
  ComputeType type_ = ComputeType::kFloat32;
  PackedMatrix qkv_;
  PackedMatrix o_;
  PackedMatrix gate_up_;  // blocks of gate and up take turns
  PackedMatrix down_;
  CpuAttention attention_;
  CpuLoss loss_;
  CpuSums sums_;
  Buffer attention_out_;
  std::vector<Buffer> tile_scratch_;
  RotaryTable rotary_;
  ModelConfig rotary_config_;
  int64_t scratch_bytes_ = 0;
  int64_t activation_bytes_ = 0;
};

ComputeType CpuBackend::TypeFor(const ResidentModel& model) const {
  return model.type == at::kBFloat16 ? best_ : ComputeType::kFloat32;
}

const RotaryTable& CpuBackend::Rotary(const ModelConfig& config, int64_t length) {
  if (!rotary_.cos.defined() || rotary_.cos.size(0) < length || !(rotary_config_ == config)) {
    rotary_ = MakeRotaryTable(config, length);
    rotary_config_ = config;
  }
  return rotary_;
}

at::Tensor CpuBackend::Embed(const ResidentModel& model, const int32_t* tokens, int64_t rows) {
  const int64_t d = model.config.hidden_size;
  at::Tensor x = at::empty({rows, d}, at::kFloat);
  auto* out = x.data_ptr<float>();
  const char* table = static_cast<const char*>(model.embedding.data_ptr());
  pool_->ParallelFor((rows + kTileRows - 1) / kTileRows, [&](int64_t tile, int) {
    const int64_t end = std::min(rows, (tile + 1) * kTileRows);
    for (int64_t i = tile * kTileRows; i < end; ++i) {
      if (model.type == at::kFloat) {
        std::memcpy(out + i * d, table + tokens[i] * d * 4, d * 4);
      } else {
        kernels_.from_bfloat16(reinterpret_cast<const BFloat16Bits*>(table) + tokens[i] * d, d,
                               out + i * d);
      }
    }
  });
  return x;
}

void CpuBackend::PackInputs(const ResidentModel& model, const ResidentLayer& layer,
                            const LayerSelection& selection) {
  const int64_t d = model.config.hidden_size;
  const LayerWeights& weights = selection.weights;
  if (selection.has_attention()) {
    std::vector<const void*> rows = Rows(weights.q, layer.q, selection.query_rows);
    for (const auto& [replacement, resident] :
         {std::pair(&weights.k, &layer.k), std::pair(&weights.v, &layer.v)}) {
      const std::vector<const void*> more = Rows(*replacement, *resident, selection.key_rows);
      rows.insert(rows.end(), more.begin(), more.end());
    }
    qkv_.PackRows(rows, model.type, d, type_, kernels_, pool_);
  }
  if (selection.has_mlp()) {
    const std::vector<const void*> gate = Rows(weights.gate, layer.gate, selection.channels);
    const std::vector<const void*> up = Rows(weights.up, layer.up, selection.channels);
    const auto width = static_cast<int64_t>(gate.size());
    constexpr int64_t kBlock = PackedMatrix::kColumns;
    std::vector<const void*> rows(2 * RoundUp(width, kBlock), nullptr);
    for (int64_t i = 0; i < width; ++i) {
      const int64_t place = i / kBlock * 2 * kBlock + i % kBlock;
      rows[place] = gate[i];
      rows[place + kBlock] = up[i];
    }
    gate_up_.PackRows(rows, model.type, d, type_, kernels_, pool_);
  }
}

void CpuBackend::PackOutputs(const ResidentModel& model, const ResidentLayer& layer,
                             const LayerSelection& selection) {
  const auto pack = [&](const at::Tensor& replacement, const at::Tensor& resident,
                        const std::vector<int64_t>& rows, PackedMatrix* packed) {
    packed->PackColumns(Rows(replacement, resident, rows),
                        replacement.defined() ? replacement.scalar_type() : model.type,
                        model.config.hidden_size, type_, kernels_, pool_);
  };
  const LayerWeights& weights = selection.weights;
  if (selection.has_attention()) {
    pack(weights.o_transposed, layer.o_transposed, selection.query_rows, &o_);
  }
  if (selection.has_mlp()) {
    pack(weights.down_transposed, layer.down_transposed, selection.channels, &down_);
  }
}

CpuBackend::Pass CpuBackend::Begin(const ResidentModel& model, int64_t layer,
                                   const LayerSelection& selection, int64_t length) {
  type_ = TypeFor(model);
  tile_scratch_.resize(pool_->threads());
  Pass pass;
  pass.layer = &model.layers[layer];
  pass.selection = &selection;
  pass.eps = static_cast<float>(model.config.rms_norm_eps);
  pass.d = model.config.hidden_size;
  pass.length = length;
  return pass;
}

// body(first, count) for the sequences that are between two passes at a time.
template <typename Body>
void CpuBackend::ForGroups(int64_t sequences, int64_t length, Body body) {
  const int64_t at_once =
      std::max<int64_t>(1, kRowsAtOnce / RoundUp(length, CpuAttention::kPaddedTo));
  for (int64_t first = 0; first < sequences; first += at_once) {
    body(first, std::min(at_once, sequences - first));
  }
}

void CpuBackend::RunLayer(const ResidentModel& model, int64_t layer,
                          const LayerSelection& selection, int64_t sequences, int64_t length,
                          at::Tensor* x, const LayerObserver& observer) {
  if (!selection.has_attention() && !selection.has_mlp()) return;
  Pass pass = Begin(model, layer, selection, length);
  PackInputs(model, *pass.layer, selection);
  PackOutputs(model, *pass.layer, selection);
  ForGroups(sequences, length, [&](int64_t first, int64_t count) {
    pass.x = x->data_ptr<float>() + first * length * pass.d;
    RunGroup(model, &pass, count, observer);
  });
  NoteMemory(*x, pass.inputs);
}

at::Tensor CpuBackend::Inner(const ResidentModel& model, int64_t layer,
                             const LayerSelection& selection, int64_t sequences, int64_t length,
                             const at::Tensor& x) {
  Pass pass = Begin(model, layer, selection, length);
  pass.outputs = false;
  PackInputs(model, *pass.layer, selection);
  const auto width = std::ssize(selection.has_mlp() ? selection.channels : selection.query_rows);
  at::Tensor inner = at::empty({x.size(0), width}, InputType());
  ForGroups(sequences, length, [&](int64_t first, int64_t count) {
    pass.x = x.data_ptr<float>() + first * length * pass.d;
    (selection.has_mlp() ? pass.inputs.down : pass.inputs.o) =
        inner.narrow(0, first * length, count * length);
    RunGroup(model, &pass, count, {});
  });
  NoteMemory(x, LayerInputs());
  return inner;
}

void CpuBackend::AddOutput(const ResidentModel& model, int64_t layer,
                           const LayerSelection& selection, const at::Tensor& inner,
                           at::Tensor* x) {
  const Pass pass = Begin(model, layer, selection, /*length=*/1);
  PackOutputs(model, *pass.layer, selection);
  const bool mlp = selection.has_mlp();
  const PackedMatrix& matrix = mlp ? down_ : o_;
  const int64_t rows = inner.size(0);
  const int64_t row_bytes = inner.size(1) * ComputeSize(type_);
  const int64_t stride = matrix.padded_k();
  pool_->ParallelFor((rows + kTileRows - 1) / kTileRows, [&](int64_t tile, int thread) {
    const int64_t row0 = tile * kTileRows;
    const int64_t count = std::min(kTileRows, rows - row0);
    char* padded = tile_scratch_[thread].Ensure(kTileRows * stride * ComputeSize(type_));
    for (int64_t i = 0; i < count; ++i) {
      char* row = padded + i * stride * ComputeSize(type_);
      std::memcpy(row, static_cast<const char*>(inner.data_ptr()) + (row0 + i) * row_bytes,
                  row_bytes);
      std::memset(row + row_bytes, 0, stride * ComputeSize(type_) - row_bytes);
    }
    float* out = x->data_ptr<float>() + row0 * pass.d;
    AddProduct(matrix, padded, stride, count, out, pass.d);
    AddBias(mlp ? selection.weights.down_bias : selection.weights.o_bias,
            mlp ? pass.layer->down_bias : pass.layer->o_bias, count, pass.d, out);
  });
  NoteMemory(*x, LayerInputs());
}

void CpuBackend::RunGroup(const ResidentModel& model, Pass* pass, int64_t sequences,
                          const LayerObserver& observer) {
  const LayerSelection& selection = *pass->selection;
  const int64_t rows = sequences * pass->length;
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  if (observer) {
    const auto make = [&](int64_t columns) { return at::empty({rows, columns}, InputType()); };
    pass->inputs = LayerInputs();
    if (selection.has_attention()) {
      pass->inputs.qkv = make(pass->d);
      pass->inputs.o = make(static_cast<int64_t>(selection.query_rows.size()));
    }
    if (selection.has_mlp()) {
      pass->inputs.gate_up = make(pass->d);
      pass->inputs.down = make(static_cast<int64_t>(selection.channels.size()));
    }
  }
  const auto for_tiles = [&](auto&& body) {
    pool_->ParallelFor(tiles, [&](int64_t tile, int thread) {
      const int64_t row0 = tile * kTileRows;
      body(row0, std::min(kTileRows, rows - row0), thread);
    });
  };
  if (selection.has_attention()) {
    attention_.Begin(model.config, selection, Rotary(model.config, pass->length), sequences,
                     pass->length);
    for_tiles(
        [&](int64_t row0, int64_t count, int thread) { ProjectTile(*pass, row0, count, thread); });
    pass->attention_stride = PackedMatrix::PaddedK(std::ssize(selection.query_rows));
    char* out = attention_out_.Ensure(rows * pass->attention_stride * ComputeSize(type_));
    attention_.Run(type_, out, pass->attention_stride);
  }
  for_tiles([&](int64_t row0, int64_t count, int thread) {
    if (selection.has_attention()) OutputTile(*pass, row0, count);
    if (selection.has_mlp()) MlpTile(*pass, row0, count, thread);
  });
  if (observer) observer(pass->inputs);
}

// [rows][padded d] of the compute type.
void CpuBackend::Normalise(const Pass& pass, const at::Tensor& weight, int64_t row0, int64_t rows,
                           char* out, float* row_scratch) const {
  const int64_t stride = PackedMatrix::PaddedK(pass.d);
  const float* w = weight.data_ptr<float>();
  std::fill(row_scratch, row_scratch + stride, 0.0f);
  for (int64_t i = 0; i < rows; ++i) {
    const float* x = pass.x + (row0 + i) * pass.d;
    if (type_ == ComputeType::kFloat32) {
      auto* target = reinterpret_cast<float*>(out) + i * stride;
      kernels_.rms_norm(x, w, pass.eps, pass.d, target);
      std::fill(target + pass.d, target + stride, 0.0f);
    } else {
      kernels_.rms_norm(x, w, pass.eps, pass.d, row_scratch);
      kernels_.to_bfloat16(row_scratch, stride, reinterpret_cast<BFloat16Bits*>(out) + i * stride);
    }
  }
}

void CpuBackend::Observe(const at::Tensor& target, int64_t row0, int64_t rows, const char* a,
                         int64_t lda) const {
  if (!target.defined()) return;
  const int64_t size = ComputeSize(type_);
  const int64_t row_bytes = target.size(1) * size;
  char* out = static_cast<char*>(target.data_ptr()) + row0 * row_bytes;
  for (int64_t i = 0; i < rows; ++i)
    std::memcpy(out + i * row_bytes, a + i * lda * size, row_bytes);
}

void CpuBackend::ProjectTile(const Pass& pass, int64_t row0, int64_t rows, int thread) {
  const int64_t stride = PackedMatrix::PaddedK(pass.d);
  const int64_t width = qkv_.blocks() * PackedMatrix::kColumns;
  auto* projections = reinterpret_cast<float*>(
      tile_scratch_[thread].Ensure((kTileRows * (width + stride) + stride) * 4));
  float* row_scratch = projections + kTileRows * width;
  char* a = reinterpret_cast<char*>(row_scratch + stride);
  Normalise(pass, pass.layer->attention_norm, row0, rows, a, row_scratch);
  Observe(pass.inputs.qkv, row0, rows, a, stride);
  for (int64_t block = 0; block < qkv_.blocks(); ++block) {
    qkv_.MultiplyBlock(a, stride, rows, block, projections + block * PackedMatrix::kColumns, width,
                       false);
  }
  for (int64_t i = 0; i < rows; ++i) {
    attention_.SetRow((row0 + i) / pass.length, (row0 + i) % pass.length, projections + i * width);
  }
}

// x[rows, d] += a · matrix.
void CpuBackend::AddProduct(const PackedMatrix& matrix, const void* a, int64_t lda, int64_t rows,
                            float* x, int64_t d) {
  for (int64_t block = 0; block < matrix.blocks(); ++block) {
    matrix.AddBlock(a, lda, rows, block, x, d);
  }
}

// x[rows, d] += the bias of each column, if there is one.
void CpuBackend::AddBias(const at::Tensor& replacement, const at::Tensor& resident, int64_t rows,
                         int64_t d, float* x) {
  const at::Tensor& bias = replacement.defined() ? replacement : resident;
  if (!bias.defined()) return;
  const float* b = bias.data_ptr<float>();
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < d; ++j) x[i * d + j] += b[j];
  }
}

void CpuBackend::OutputTile(const Pass& pass, int64_t row0, int64_t rows) {
  const char* a = attention_out_.Ensure(0) + row0 * pass.attention_stride * ComputeSize(type_);
  Observe(pass.inputs.o, row0, rows, a, pass.attention_stride);
  if (!pass.outputs) return;
  AddProduct(o_, a, pass.attention_stride, rows, pass.x + row0 * pass.d, pass.d);
  AddBias(pass.selection->weights.o_bias, pass.layer->o_bias, rows, pass.d, pass.x + row0 * pass.d);
}

void CpuBackend::MlpTile(const Pass& pass, int64_t row0, int64_t rows, int thread) {
  constexpr int64_t kBlock = PackedMatrix::kColumns;
  const int64_t stride = PackedMatrix::PaddedK(pass.d);
  const int64_t hidden = gate_up_.blocks() / 2 * kBlock;  // channels, padded with zeros
  auto* gate = reinterpret_cast<float*>(
      tile_scratch_[thread].Ensure((kTileRows * (2 * kBlock + stride + hidden) + stride) * 4));
  float* up = gate + kTileRows * kBlock;
  float* row_scratch = up + kTileRows * kBlock;
  char* a = reinterpret_cast<char*>(row_scratch + stride);
  char* h = a + kTileRows * stride * 4;
  Normalise(pass, pass.layer->mlp_norm, row0, rows, a, row_scratch);
  Observe(pass.inputs.gate_up, row0, rows, a, stride);
  for (int64_t block = 0; block < gate_up_.blocks(); block += 2) {
    gate_up_.MultiplyBlock(a, stride, rows, block, gate, kBlock, false);
    gate_up_.MultiplyBlock(a, stride, rows, block + 1, up, kBlock, false);
    kernels_.silu_mul(gate, up, rows * kBlock, gate);
    const int64_t column = block / 2 * kBlock;
    for (int64_t i = 0; i < rows; ++i) {
      if (type_ == ComputeType::kFloat32) {
        std::memcpy(reinterpret_cast<float*>(h) + i * hidden + column, gate + i * kBlock,
                    kBlock * 4);
      } else {
        kernels_.to_bfloat16(gate + i * kBlock, kBlock,
                             reinterpret_cast<BFloat16Bits*>(h) + i * hidden + column);
      }
    }
  }
  Observe(pass.inputs.down, row0, rows, h, hidden);
  if (!pass.outputs) return;
  AddProduct(down_, h, hidden, rows, pass.x + row0 * pass.d, pass.d);
  AddBias(pass.selection->weights.down_bias, pass.layer->down_bias, rows, pass.d,
          pass.x + row0 * pass.d);
}

std::vector<LossSums> CpuBackend::Losses(const ResidentModel& model, const at::Tensor& final_norm,
                                         const at::Tensor& x, const int32_t* tokens,
                                         int64_t sequences, int64_t length,
                                         const DenseRows* dense) {
  std::vector<LossSums> sums =
      loss_.Run(model, TypeFor(model), final_norm, x, tokens, sequences, length, dense);
  NoteMemory(x, LayerInputs());
  return sums;
}

DenseRows CpuBackend::Predictions(const ResidentModel& model, const at::Tensor& x) {
  const int64_t rows = x.size(0);
  DenseRows all{at::empty({rows, x.size(1)}, at::kFloat), at::empty({rows}, at::kFloat)};
  pool_->ParallelFor((rows + kTileRows - 1) / kTileRows, [&](int64_t tile, int) {
    const int64_t first = tile * kTileRows;
    const int64_t count = std::min(kTileRows, rows - first);
    const DenseRows part = PredictRows(model, x.narrow(0, first, count));
    all.expected.narrow(0, first, count).copy_(part.expected);
    all.entropy.narrow(0, first, count).copy_(part.entropy);
  });
  return all;
}

void CpuBackend::NoteMemory(const at::Tensor& x, const LayerInputs& inputs) {
  const int64_t packed = qkv_.bytes() + o_.bytes() + gate_up_.bytes() + down_.bytes();
  scratch_bytes_ = std::max(scratch_bytes_, packed + loss_.packed_bytes());
  int64_t bytes = static_cast<int64_t>(x.nbytes()) + attention_.bytes() + attention_out_.bytes() +
                  loss_.bytes() + sums_.bytes();
  for (const Buffer& buffer : tile_scratch_) bytes += buffer.bytes();
  for (const at::Tensor* tensor : {&inputs.qkv, &inputs.o, &inputs.gate_up, &inputs.down}) {
    if (tensor->defined()) bytes += static_cast<int64_t>(tensor->nbytes());
  }
  activation_bytes_ = std::max(activation_bytes_, bytes);
}

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(ThreadPool* pool) {
  return std::make_unique<CpuBackend>(pool);
}

}  // namespace espalier
