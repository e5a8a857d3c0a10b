// Which address gives what. Thin: the data comes from StatusSource, the texts from status_json and
// metrics.
#ifndef ESPALIER_COORDINATOR_STATUS_ROUTES_H_
#define ESPALIER_COORDINATOR_STATUS_ROUTES_H_

#include <httplib.h>

#include <string>

#include "coordinator/status/source.h"
#include "coordinator/status/status_feed.h"

namespace espalier {

// Thread-safe.
class StatusRoutes {
 public:
  // Both outlive this.
  StatusRoutes(const StatusSource* source, StatusFeed* feed) : source_(source), feed_(feed) {}

  void Handle(const httplib::Request& request, httplib::Response& response) const;
  // The body of an answer that is an error by its status alone.
  static void Explain(const httplib::Request& request, httplib::Response& response);

 private:
  void Route(const httplib::Request& request, httplib::Response& response) const;
  void Job(const std::string& name, httplib::Response& response) const;
  void Metrics(httplib::Response& response) const;
  void Ready(httplib::Response& response) const;
  void Events(const httplib::Request& request, httplib::Response& response) const;

  const StatusSource* const source_;
  StatusFeed* const feed_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_ROUTES_H_
