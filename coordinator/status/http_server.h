// httplib's server with every resource bounded: threads, waiting connections, the size and the time
// of a request. And it ends promptly, whatever its clients do.
#ifndef ESPALIER_COORDINATOR_STATUS_HTTP_SERVER_H_
#define ESPALIER_COORDINATOR_STATUS_HTTP_SERVER_H_

#include <httplib.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "coordinator/status/http_connection.h"

namespace espalier {

// Answers one request a connection. Start and Stop belong to one thread.
class HttpServer final : public httplib::Server {
 public:
  // Answers every well-formed request; called by several threads. Bodies are not read.
  using Handler = std::function<void(const httplib::Request&, httplib::Response&)>;
  // A header that only this server sets: the client has shown a certificate of the client CA.
  static constexpr char kCertified[] = "Espalier-Certified";
  struct Options {
    size_t threads = 12;
    size_t most_waiting = 64;  // accepted connections without a thread
    ConnectionLimits limits = {};
    std::optional<TlsContext> tls = {};  // none: plain HTTP
  };

  // `fail` fills in the answer to a request that has none yet, from its status (400 and above).
  HttpServer(const Options& options, Handler handler, Handler fail);
  ~HttpServer() override;  // as Stop

  // Port 0: any free one. UNAVAILABLE when it cannot be listened on. Call once.
  absl::Status Start(const std::string& host, int port);
  int port() const { return port_; }
  // Breaks off all connections; returns when no thread is left.
  void Stop();
  // Reads one request and answers it, on the calling thread; needs no Start. May throw what httplib
  // does.
  void Serve(httplib::Stream& connection);
  void Serve(HttpConnection& connection);

 private:
  bool process_and_close_socket(int socket) override;  // of httplib, on a thread of the pool
  void Serve(httplib::Stream& connection, const std::function<bool()>& certified);
  void Register(int socket);
  void CloseAndForget(int socket);

  const Options options_;
  int port_ = 0;
  std::thread acceptor_;
  Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<int> open_ ABSL_GUARDED_BY(mutex_);  // connections that are served
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_HTTP_SERVER_H_
