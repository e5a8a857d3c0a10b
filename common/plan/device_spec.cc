#include "common/plan/device_spec.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace espalier {
namespace {

constexpr double kTera = 1e12;
constexpr double kGiga = 1e9;
constexpr int64_t kGibibyte = int64_t{1} << 30;

// The vendor's figures for dense matrix products. float32 without TF32, which libtorch does not use
// unless it is told to; float64 without tensor cores, which do not serve all of a factorisation.
struct Preset {
  const char* name;
  int64_t gibibytes;
  double bfloat16_peak;
  double float32_peak;
  double float64_peak;
};
constexpr std::array<Preset, 3> kPresets = {{
    {"a100-40g", 40, 312 * kTera, 19.5 * kTera, 9.7 * kTera},
    {"a100-80g", 80, 312 * kTera, 19.5 * kTera, 9.7 * kTera},
    {"h100-80g", 80, 989 * kTera, 67 * kTera, 34 * kTera},
}};
// The rest is the driver's context and holes between allocations.
constexpr double kUsableShare = 0.94;

// Measured with this engine on a server core with AVX-512 and bfloat16 instructions (docs/plan.md);
// cores without them reach a half or less.
constexpr double kCoreFloat32 = 80 * kGiga;
constexpr double kCoreBFloat16 = 150 * kGiga;

}  // namespace

absl::StatusOr<DeviceSpec> PresetDevice(std::string_view name, double utilisation) {
  for (const Preset& preset : kPresets) {
    if (name != preset.name) continue;
    const auto bytes = static_cast<double>(preset.gibibytes * kGibibyte);
    return DeviceSpec{
        .name = preset.name,
        .gpu = true,
        .memory = static_cast<int64_t>(bytes * kUsableShare),
        .float32_flops = preset.float32_peak * utilisation,
        .bfloat16_flops = preset.bfloat16_peak * utilisation,
        .float64_flops = preset.float64_peak * utilisation,
        .threads = 1,
        .assumptions = absl::StrFormat(
            "%.0f%% of %d GiB usable; %.0f%% of the published dense peaks, %.0f TFLOP/s bfloat16, "
            "%.1f float32 and %.1f float64; nothing of this was measured with Espalier",
            100 * kUsableShare, preset.gibibytes, 100 * utilisation, preset.bfloat16_peak / kTera,
            preset.float32_peak / kTera, preset.float64_peak / kTera)};
  }
  std::string names;
  for (const Preset& preset : kPresets)
    absl::StrAppend(&names, names.empty() ? "" : ", ", preset.name);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown device type \"", std::string(name), "\": use one of ", names,
                   ", or describe the device by its memory and TFLOP/s"));
}

DeviceSpec CpuDevice(int cores, int64_t memory, int64_t workers, bool multiplies_bfloat16) {
  const std::string rates =
      multiplies_bfloat16
          ? absl::StrFormat("%.0f GFLOP/s in float32 and %.0f in bfloat16", kCoreFloat32 / kGiga,
                            kCoreBFloat16 / kGiga)
          : absl::StrFormat("%.0f GFLOP/s in float32, in which jobs in bfloat16 compute here too",
                            kCoreFloat32 / kGiga);
  const double share = static_cast<double>(cores) / static_cast<double>(workers);
  return {.name = "cpu",
          .gpu = false,
          .memory = memory / workers,
          .float32_flops = share * kCoreFloat32,
          .bfloat16_flops = share * (multiplies_bfloat16 ? kCoreBFloat16 : kCoreFloat32),
          .float64_flops = share * kCoreFloat32 / 2,
          .threads = std::max(1, static_cast<int>(std::lround(std::floor(share)))),
          .multiplies_bfloat16 = multiplies_bfloat16,
          .assumptions = absl::StrFormat(
              "%d core%s of this machine%s; a core with AVX-512 sustains %s, others less", cores,
              cores == 1 ? "" : "s",
              workers > 1 ? absl::StrFormat(" divided over %d workers", workers) : "", rates)};
}

void SetRate(double flops, Precision precision, DeviceSpec* device) {
  const bool wide = precision == Precision::kFloat32;
  (wide ? device->float32_flops : device->bfloat16_flops) = flops;
  device->assumptions = absl::StrFormat("%s at %.3g TFLOP/s sustained, as given",
                                        std::string(PrecisionName(precision)), flops / kTera);
  if (device->gpu) return;
  if (!device->multiplies_bfloat16) {
    device->float32_flops = device->bfloat16_flops = flops;
  } else if (!wide) {
    device->float32_flops = flops / 2;
  }
  device->float64_flops = device->float32_flops / 2;
}

int64_t ReadAvailableMemory(std::istream& meminfo) {
  std::string key;
  int64_t kibibytes = 0;
  std::string rest;
  while (meminfo >> key >> kibibytes && std::getline(meminfo, rest)) {
    if (key == "MemAvailable:") return kibibytes * 1024;
  }
  return 0;
}

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  std::string_view number = text;
  double scale = 1;
  if (!number.empty()) {
    const size_t unit = kUnits.find(number.back());
    if (unit != std::string_view::npos) {
      scale = std::pow(1024.0, static_cast<double>(unit + 1));
      number.remove_suffix(1);
    }
  }
  double value = 0;
  constexpr double kMost = 1e18;
  if (!absl::SimpleAtod(absl::string_view(number.data(), number.size()), &value) || !(value > 0) ||
      value * scale > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(text),
                     "\" is no amount of memory: write 80G, 512M or a "
                     "number of bytes (K, M, G, T are powers of 1024)"));
  }
  return static_cast<int64_t>(value * scale);
}

}  // namespace espalier
