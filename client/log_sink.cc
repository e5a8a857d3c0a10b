#include "client/log_sink.h"

#include <memory>
#include <mutex>
#include <string_view>

#include "spdlog/logger.h"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"

namespace espalier {
namespace {

class ReporterSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit ReporterSink(ProgressReporter& reporter) : reporter_(reporter) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::string_view text(line.data(), line.size());
    while (text.ends_with('\n')) text.remove_suffix(1);
    reporter_.Note(text);
  }
  void flush_() override {}

 private:
  ProgressReporter& reporter_;
};

}  // namespace

LogsThrough::LogsThrough(ProgressReporter& reporter, bool verbose)
    : previous_(spdlog::default_logger()) {
  auto logger = std::make_shared<spdlog::logger>("", std::make_shared<ReporterSink>(reporter));
  logger->set_pattern("%H:%M:%S %l %v");
  logger->set_level(verbose ? spdlog::level::debug : spdlog::level::critical);
  spdlog::set_default_logger(std::move(logger));
}

LogsThrough::~LogsThrough() { spdlog::set_default_logger(previous_); }

}  // namespace espalier
