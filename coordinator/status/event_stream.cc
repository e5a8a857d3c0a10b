#include "coordinator/status/event_stream.h"

#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

// How soon a browser connects again.
constexpr std::string_view kStart = "retry: 1000\n\n";
// So that the page can tell a quiet coordinator from a dead connection.
constexpr std::string_view kPing = "event: ping\ndata: {}\n\n";
constexpr std::chrono::seconds kPingDistance{5};
// How soon a client that went away is noticed.
constexpr std::chrono::seconds kGlance{1};

// What one client has got.
class EventStream {
 public:
  EventStream(StatusFeed* feed, const SnapshotId& after) : feed_(feed), seen_(after) {}
  ~EventStream() { feed_->Leave(); }
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  // Waits for the next thing to send, a second at most. False ends the stream.
  bool Step(httplib::DataSink& sink) {
    if (!std::exchange(started_, true)) return Write(kStart, sink);
    const auto item = feed_->Next(seen_, Clock::now() + kGlance);
    if (feed_->stopped() || !sink.is_writable()) return false;
    if (item != nullptr) {
      seen_ = item->id;
      return Write(EventText(*item), sink);
    }
    return Clock::now() - last_write_ < kPingDistance || Write(kPing, sink);
  }

 private:
  bool Write(std::string_view text, httplib::DataSink& sink) {
    last_write_ = Clock::now();
    return sink.write(text.data(), text.size());
  }

  StatusFeed* const feed_;
  SnapshotId seen_;
  bool started_ = false;
  Clock::time_point last_write_;
};

}  // namespace

std::string EventText(const StatusFeed::Item& item) {
  return absl::StrCat("id: ", item.id.ToString(), "\nevent: status\ndata: ", item.json, "\n\n");
}

bool SendEvents(StatusFeed* feed, const SnapshotId& after, httplib::Response& response) {
  if (!feed->Join()) return false;
  auto stream = std::make_shared<EventStream>(feed, after);
  response.status = 200;
  response.set_chunked_content_provider(
      kEventsType, [stream](size_t, httplib::DataSink& sink) { return stream->Step(sink); });
  return true;
}

}  // namespace espalier
