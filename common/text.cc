#include "common/text.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/rng.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/utf8.h"

namespace espalier {
namespace {

// The code points for which Python's str.isspace is true, beyond ASCII.
constexpr std::array<std::string_view, 19> kSpaces = {
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

bool IsSpace(std::string_view point) {
  if (point.size() == 1) {
    const auto byte = static_cast<unsigned char>(point[0]);
    return byte == ' ' || (byte >= 0x09 && byte <= 0x0D) || (byte >= 0x1C && byte <= 0x1F);
  }
  return std::find(kSpaces.begin(), kSpaces.end(), point) != kSpaces.end();
}

bool IsBlank(std::string_view line) {
  while (!line.empty()) {
    const size_t length = std::max<size_t>(1, Utf8Length(line));
    if (!IsSpace(line.substr(0, length))) return false;
    line.remove_prefix(length);
  }
  return true;
}

void AppendLittleEndian(uint64_t value, size_t bytes, std::string& out) {
  for (size_t i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
}

// How many sequences to take of `ids`: `count`, or all whole ones.
absl::StatusOr<int64_t> CountSequences(const std::vector<int32_t>& ids, int64_t sequence_length,
                                       int64_t count, std::string_view source) {
  if (sequence_length < 1 || count < 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot take ", count, " sequences of ",
                                                   sequence_length,
                                                   " tokens; give positive numbers"));
  }
  const int64_t available = static_cast<int64_t>(ids.size()) / sequence_length;
  const int64_t needed = std::max<int64_t>(1, count);
  if (available < needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        std::string(source), ": has ", ids.size(), " tokens, enough for ", available,
        " sequences of ", sequence_length, ", but ", needed,
        " are needed; give a longer text, fewer sequences or a smaller sequence_length"));
  }
  return count == 0 ? available : count;
}

}  // namespace

std::string JoinWikiTextRows(std::string_view file_contents) {
  std::string joined;
  joined.reserve(file_contents.size() * 2);
  bool first = true;
  while (!file_contents.empty()) {
    const size_t newline = file_contents.find('\n');
    const std::string_view line = file_contents.substr(0, newline);
    file_contents.remove_prefix(std::min(file_contents.size(), line.size() + 1));
    if (!first) joined += "\n\n";
    first = false;
    if (!IsBlank(line)) joined.append(line).append("\n");
  }
  return joined;
}

TokenSequences MakeTokenSequences(int64_t sequence_length, std::vector<int32_t> tokens) {
  TokenSequences sequences;
  sequences.sequence_length = sequence_length;
  sequences.tokens = std::move(tokens);
  std::string bytes;
  bytes.reserve(8 + 4 * sequences.tokens.size());
  AppendLittleEndian(static_cast<uint64_t>(sequence_length), 8, bytes);
  for (const int32_t token : sequences.tokens) {
    AppendLittleEndian(static_cast<uint32_t>(token), 4, bytes);
  }
  sequences.hash = Sha256Hex(bytes);
  return sequences;
}

absl::StatusOr<std::vector<int32_t>> TokenizeFile(const Tokenizer& tokenizer,
                                                  const std::filesystem::path& file,
                                                  TextFormat format) {
  ESPALIER_ASSIGN_OR_RETURN(std::string text, ReadFile(file));
  if (const auto offset = InvalidUtf8Offset(text)) {
    return absl::InvalidArgumentError(absl::StrCat(file.string(), ": not UTF-8 at byte ", *offset,
                                                   "; convert the file to that encoding"));
  }
  if (format == TextFormat::kWikiText) text = JoinWikiTextRows(text);
  absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text);
  if (ids.ok()) return ids;
  return absl::Status(ids.status().code(),
                      absl::StrCat(file.string(), ": ", ids.status().message()));
}

absl::StatusOr<TokenSequences> FirstSequences(const std::vector<int32_t>& ids,
                                              int64_t sequence_length, int64_t count,
                                              std::string_view source) {
  ESPALIER_ASSIGN_OR_RETURN(const int64_t taken,
                            CountSequences(ids, sequence_length, count, source));
  return MakeTokenSequences(
      sequence_length, std::vector<int32_t>(ids.begin(), ids.begin() + taken * sequence_length));
}

absl::StatusOr<TokenSequences> SampleSequences(const std::vector<int32_t>& ids,
                                               int64_t sequence_length, int64_t count,
                                               uint64_t seed, uint32_t purpose,
                                               std::string_view source) {
  ESPALIER_ASSIGN_OR_RETURN(const int64_t taken,
                            CountSequences(ids, sequence_length, count, source));
  RandomStream random(seed, static_cast<RandomPurpose>(purpose), /*generation=*/0, /*slot=*/0);
  std::vector<int32_t> tokens;
  tokens.reserve(taken * sequence_length);
  for (const int64_t i : random.Sample(static_cast<int64_t>(ids.size()) / sequence_length, taken)) {
    const auto begin = ids.begin() + i * sequence_length;
    tokens.insert(tokens.end(), begin, begin + sequence_length);
  }
  return MakeTokenSequences(sequence_length, std::move(tokens));
}

}  // namespace espalier
