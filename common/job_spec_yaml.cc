// ParseJobSpec and JobSpecToYaml: two visitors of the list in job_spec_fields.h.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/file.h"
#include "common/job_spec.h"
#include "common/job_spec_fields.h"
#include "common/status_macros.h"
#include "common/utf8.h"

namespace espalier {
namespace job_spec_internal {
namespace {

// A job file is a page of text; more is a mistake, or an attack on a coordinator.
constexpr size_t kMaxBytes = 1 << 20;
constexpr size_t kMaxQuoted = 60;

// A YAML double-quoted scalar. Line separators of YAML 1.1 and the byte order mark are escaped too,
// because readers may fold or drop them.
std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  for (size_t i = 0; i < text.size();) {
    const size_t length = std::max<size_t>(1, Utf8Length(text.substr(i)));
    const std::string_view point = text.substr(i, length);
    const unsigned char byte = point[0];
    if (byte == '"' || byte == '\\') {
      absl::StrAppend(&quoted, "\\", std::string(point));
    } else if (byte < 0x20 || byte == 0x7F) {
      absl::StrAppend(&quoted, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else if (length == 2 && byte == 0xC2 && static_cast<unsigned char>(point[1]) < 0xA0) {
      absl::StrAppend(&quoted, "\\x", absl::Hex(static_cast<unsigned char>(point[1])));
    } else if (point == "\xE2\x80\xA8" || point == "\xE2\x80\xA9") {
      absl::StrAppend(&quoted, point == "\xE2\x80\xA8" ? "\\u2028" : "\\u2029");
    } else if (point == "\xEF\xBB\xBF") {
      absl::StrAppend(&quoted, "\\ufeff");
    } else {
      quoted.append(point);
    }
    i += length;
  }
  return quoted + "\"";
}

std::string QuoteShort(std::string_view text) {
  if (text.size() <= kMaxQuoted) return Quote(text);
  size_t end = kMaxQuoted;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return Quote(text.substr(0, end)) + "...";
}

// Levenshtein's.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string Join(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(std::string(path), ".", std::string(key));
}

// Full names of all keys, for hints.
class KeyCollector {
 public:
  template <typename Body>
  void Group(std::string_view key, std::string_view, Body body) {
    const std::string outer = std::exchange(path_, Join(path_, key));
    keys_.push_back(path_);
    body();
    path_ = outer;
  }
  template <typename... Ignored>
  void Text(std::string_view key, const Ignored&...) {
    keys_.push_back(Join(path_, key));
  }
  template <typename... Ignored>
  void Choice(std::string_view key, const Ignored&...) {
    Text(key);
  }
  template <typename... Ignored>
  void Integer(std::string_view key, const Ignored&...) {
    Text(key);
  }
  template <typename... Ignored>
  void Seed(std::string_view key, const Ignored&...) {
    Text(key);
  }
  template <typename... Ignored>
  void Real(std::string_view key, const Ignored&...) {
    Text(key);
  }
  template <typename... Ignored>
  void Reals(std::string_view key, const Ignored&...) {
    Text(key);
  }
  const std::vector<std::string>& keys() const { return keys_; }

 private:
  std::string path_;
  std::vector<std::string> keys_;
};

// " did you mean "target.ratio"?", for a key that `path` does not know.
std::string Hint(std::string_view path, std::string_view unknown,
                 const std::vector<std::string>& siblings) {
  KeyCollector all;
  const JobSpec spec;
  VisitJobSpec(all, spec);
  std::vector<std::string> elsewhere;
  for (const std::string& key : all.keys()) {
    if (key.size() > unknown.size() && key.ends_with(absl::StrCat(".", std::string(unknown)))) {
      elsewhere.push_back(key);
    }
  }
  if (!elsewhere.empty()) {
    return absl::StrCat("did you mean ", absl::StrJoin(elsewhere, " or "), "?");
  }
  unknown = unknown.substr(0, kMaxQuoted);  // a key may be as long as the file
  const auto nearest = std::min_element(siblings.begin(), siblings.end(), [&](auto& a, auto& b) {
    return EditDistance(a, unknown) < EditDistance(b, unknown);
  });
  return absl::StrCat("did you mean ", Join(path, *nearest),
                      "? Keys here: ", absl::StrJoin(siblings, ", "));
}

std::string KindOf(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Map:
      return "a map";
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Scalar:
      return QuoteShort(node.Scalar());
    default:
      return "nothing";
  }
}

// yaml-cpp tags quoted scalars "!".
bool IsQuoted(const YAML::Node& node) { return node.Tag() == "!"; }

template <typename T>
std::optional<T> ParseWhole(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

class Reader {
 public:
  Reader(std::string_view source, const YAML::Node& root) : source_(source) { Open("", root); }

  template <typename Body>
  void Group(std::string_view key, std::string_view shorthand, Body body) {
    const std::optional<YAML::Node> node = Take(key);
    if (!node) return;
    Frame outer = std::exchange(frame_, Frame{});
    Open(Join(outer.path, key), AsMap(*node, shorthand));
    body();
    CheckAllKnown();
    frame_ = std::move(outer);
  }

  void Text(std::string_view key, std::string& value) {
    const std::optional<YAML::Node> node = Take(key);
    if (!node) return;
    if (!node->IsScalar()) return WrongType(*node, key, "a string");
    value = node->Scalar();
    if (const std::string problem = TextProblem(value); !problem.empty()) {
      Fail(node->Mark(), absl::StrCat(Join(frame_.path, key), ": ", problem));
    }
  }

  template <typename Enum, size_t N>
  void Choice(std::string_view key, Enum& value, const std::array<std::string_view, N>& names) {
    const std::optional<YAML::Node> node = Take(key);
    if (!node) return;
    const auto name = std::find(names.begin(), names.end(),
                                node->IsScalar() ? std::string_view(node->Scalar()) : "");
    if (name == names.end()) {
      const std::vector<std::string> all(names.begin(), names.end());
      return WrongType(*node, key, absl::StrCat("one of ", absl::StrJoin(all, ", ")));
    }
    value = static_cast<Enum>(name - names.begin());
  }

  void Integer(std::string_view key, int64_t& value, const Range<int64_t>& range) {
    Number(key, value, "a whole number", range);
  }
  void Real(std::string_view key, double& value, const Range<double>& range) {
    Number(key, value, "a number", range);
  }
  void Reals(std::string_view key, double& first, std::vector<double>& others,
             const Range<double>& range) {
    const std::optional<YAML::Node> node = Take(key);
    if (!node) return;
    std::vector<double> values;
    if (node->IsSequence()) {
      for (const YAML::Node& item : *node) AddNumber(key, item, range, values);
      if (values.empty()) return WrongType(*node, key, "at least one number");
    } else {
      AddNumber(key, *node, range, values);
      if (values.empty()) return;
    }
    first = values.front();
    others.assign(values.begin() + 1, values.end());
  }
  void Seed(std::string_view key, uint64_t& value) {
    const std::optional<YAML::Node> node = Take(key);
    if (!node) return;
    const auto parsed = Unquoted<uint64_t>(*node);
    if (!parsed) return WrongType(*node, key, "a whole number from 0 to 18446744073709551615");
    value = *parsed;
  }

  absl::Status Finish() {
    CheckAllKnown();
    return status_;
  }

 private:
  struct Entry {
    std::string key;
    YAML::Mark mark;
    YAML::Node value;
    bool known = false;
  };
  struct Frame {
    std::string path;
    std::vector<Entry> entries;
    std::vector<std::string> known;
  };

  void Fail(const YAML::Mark& mark, std::string_view message) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(std::string(source_), ":", mark.line + 1, ":",
                                                      mark.column + 1, ": ", std::string(message)));
  }

  void WrongType(const YAML::Node& node, std::string_view key, std::string_view expected) {
    Fail(node.Mark(), absl::StrCat(Join(frame_.path, key), ": expected ", std::string(expected),
                                   ", got ", KindOf(node)));
  }

  // A lone scalar stands for the map {shorthand: scalar}.
  static YAML::Node AsMap(const YAML::Node& node, std::string_view shorthand) {
    if (shorthand.empty() || !node.IsScalar()) return node;
    YAML::Node map(YAML::NodeType::Map);
    map.force_insert(std::string(shorthand), node);
    return map;
  }

  // The keys of one map become the current frame.
  void Open(std::string path, const YAML::Node& map) {
    frame_.path = std::move(path);
    if (!map.IsMap()) {
      return Fail(map.Mark(), absl::StrCat(frame_.path.empty() ? "a job file" : frame_.path,
                                           ": expected a map of keys, got ", KindOf(map)));
    }
    std::set<std::string> seen;
    for (const auto& pair : map) {
      if (!pair.first.IsScalar()) {
        return Fail(pair.first.Mark(), absl::StrCat("expected a key, got ", KindOf(pair.first)));
      }
      const std::string& key = pair.first.Scalar();
      if (!seen.insert(key).second) {
        return Fail(pair.first.Mark(), absl::StrCat("the key ", QuoteShort(key),
                                                    " is given twice; remove one of them"));
      }
      frame_.entries.push_back({key, pair.first.Mark(), pair.second});
    }
  }

  std::optional<YAML::Node> Take(std::string_view key) {
    frame_.known.emplace_back(key);
    for (Entry& entry : frame_.entries) {
      if (entry.key != key) continue;
      entry.known = true;
      return entry.value;
    }
    return std::nullopt;
  }

  void CheckAllKnown() {
    for (const Entry& entry : frame_.entries) {
      if (entry.known) continue;
      return Fail(entry.mark, absl::StrCat("unknown key ", QuoteShort(entry.key), "; ",
                                           Hint(frame_.path, entry.key, frame_.known)));
    }
  }

  template <typename T>
  static std::optional<T> Unquoted(const YAML::Node& node) {
    if (!node.IsScalar() || IsQuoted(node)) return std::nullopt;
    return ParseWhole<T>(node.Scalar());
  }

  template <typename T>
  std::optional<T> NumberIn(std::string_view key, const YAML::Node& node, std::string_view expected,
                            const Range<T>& range) {
    const std::optional<T> parsed = Unquoted<T>(node);
    if (!parsed) {
      WrongType(node, key, expected);
    } else if (!range.Contains(*parsed)) {
      Fail(node.Mark(),
           absl::StrCat(Join(frame_.path, key), " is ", node.Scalar(), "; ", Describe(range)));
      return std::nullopt;
    }
    return parsed;
  }

  template <typename T>
  void Number(std::string_view key, T& value, std::string_view expected, const Range<T>& range) {
    const std::optional<YAML::Node> node = Take(key);
    if (!node) return;
    if (const std::optional<T> number = NumberIn(key, *node, expected, range)) value = *number;
  }

  void AddNumber(std::string_view key, const YAML::Node& node, const Range<double>& range,
                 std::vector<double>& values) {
    if (const auto number = NumberIn(key, node, "a number", range)) values.push_back(*number);
  }

  std::string_view source_;
  Frame frame_;
  absl::Status status_;
};

class Writer {
 public:
  template <typename Body>
  void Group(std::string_view key, std::string_view, Body body) {
    Line(key, "");
    indent_ += 2;
    body();
    indent_ -= 2;
  }
  void Text(std::string_view key, const std::string& value) { Line(key, Quote(value)); }
  template <typename Enum, size_t N>
  void Choice(std::string_view key, Enum value, const std::array<std::string_view, N>& names) {
    Line(key, names[static_cast<size_t>(value)]);
  }
  // A number outside its range, such as a ratio not given yet, is left out.
  void Integer(std::string_view key, int64_t value, const Range<int64_t>& range) {
    if (range.Contains(value)) Line(key, absl::StrCat(value));
  }
  void Real(std::string_view key, double value, const Range<double>& range) {
    if (range.Contains(value)) Line(key, ShortestDecimal(value));
  }
  void Reals(std::string_view key, double first, const std::vector<double>& others,
             const Range<double>& range) {
    if (others.empty()) return Real(key, first, range);
    std::string list = ShortestDecimal(first);
    for (const double other : others) absl::StrAppend(&list, ", ", ShortestDecimal(other));
    Line(key, absl::StrCat("[", list, "]"));
  }
  void Seed(std::string_view key, uint64_t value) { Line(key, absl::StrCat(value)); }

  std::string& yaml() { return yaml_; }

 private:
  void Line(std::string_view key, std::string_view value) {
    yaml_.append(indent_, ' ').append(key).append(value.empty() ? ":" : ": ");
    yaml_.append(value).append("\n");
  }

  size_t indent_ = 0;
  std::string yaml_;
};

absl::Status ErrorAt(std::string_view source, std::string_view text, size_t offset,
                     std::string_view message) {
  const std::string_view before = text.substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t newline = before.rfind('\n');
  const size_t column = newline == std::string_view::npos ? offset + 1 : offset - newline;
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(source), ":", line, ":", column, ": ", std::string(message)));
}

// What YAML forbids and yaml-cpp would replace or, for U+0004, take for the end of the text.
absl::Status CheckCharacters(std::string_view yaml, std::string_view source) {
  if (yaml.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(source), ": is ", yaml.size(),
                                                   " bytes; a job file has at most ", kMaxBytes));
  }
  if (const auto offset = InvalidUtf8Offset(yaml)) {
    return ErrorAt(source, yaml, *offset, "not UTF-8; save the file in that encoding");
  }
  for (size_t i = 0; i < yaml.size(); ++i) {
    const unsigned char byte = yaml[i];
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F) {
      return ErrorAt(source, yaml, i, "control character; remove it or write it as an escape");
    }
  }
  return absl::OkStatus();
}

// Notes where a document begins; what is in it passes by.
class DocumentStart final : public YAML::EventHandler {
 public:
  const YAML::Mark& mark() const { return mark_; }

  void OnDocumentStart(const YAML::Mark& mark) override { mark_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  YAML::Mark mark_;
};

// Not YAML::LoadAll: behind a token that can begin no document, such as a lone "}", the parser
// finds one empty document after the other, without end.
absl::Status CheckIsOneDocument(const std::string& yaml, std::string_view source) {
  std::istringstream stream(yaml);
  YAML::Parser parser(stream);
  DocumentStart start;
  if (!parser.HandleNextDocument(start)) return ErrorAt(source, yaml, 0, "the job file is empty");
  if (!parser.HandleNextDocument(start)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      std::string(source), ":", start.mark().line + 1, ":", start.mark().column + 1,
      ": a second YAML document begins here, or something that belongs to none; give one job a "
      "file"));
}

absl::StatusOr<JobSpec> ParseDocument(const std::string& yaml, std::string_view source) {
  ESPALIER_RETURN_IF_ERROR(CheckIsOneDocument(yaml, source));
  JobSpec spec;
  Reader reader(source, YAML::Load(yaml));
  VisitJobSpec(reader, spec);
  ESPALIER_RETURN_IF_ERROR(reader.Finish());
  return spec;
}

}  // namespace
}  // namespace job_spec_internal

absl::StatusOr<JobSpec> ParseJobSpec(std::string_view yaml, std::string_view source) {
  ESPALIER_RETURN_IF_ERROR(job_spec_internal::CheckCharacters(yaml, source));
  try {
    return job_spec_internal::ParseDocument(std::string(yaml), source);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(source), ":", error.mark.line + 1,
                                                   ":", error.mark.column + 1,
                                                   ": not valid YAML: ", error.msg));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(source), ": not valid YAML: ", error.what()));
  }
}

absl::StatusOr<JobSpec> ReadJobSpec(const std::filesystem::path& file) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string yaml, ReadFile(file));
  return ParseJobSpec(yaml, file.string());
}

std::string JobSpecToYaml(const JobSpec& spec) {
  job_spec_internal::Writer writer;
  job_spec_internal::VisitJobSpec(writer, spec);
  return std::move(writer.yaml());
}

}  // namespace espalier
