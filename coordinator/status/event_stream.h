// A StatusFeed as server-sent events.
#ifndef ESPALIER_COORDINATOR_STATUS_EVENT_STREAM_H_
#define ESPALIER_COORDINATOR_STATUS_EVENT_STREAM_H_

#include <httplib.h>

#include <string>

#include "coordinator/status/status_feed.h"

namespace espalier {

inline constexpr char kEventsType[] = "text/event-stream";

// id, event and data, as the stream carries them.
std::string EventText(const StatusFeed::Item& item);

// Makes the response an endless one: an event "status" with every snapshot from the first other
// than `after` on, an event "ping" where nothing happens for long. It ends with the feed or with
// the client. False when there are too many already.
bool SendEvents(StatusFeed* feed, const SnapshotId& after, httplib::Response& response);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_EVENT_STREAM_H_
