#include "coordinator/status/http_server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/status/bounded_task_queue.h"

namespace espalier {
namespace {

// httplib's default shares the port with other processes of the same user.
void ReuseAddressOnly(int socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

}  // namespace

HttpServer::HttpServer(const Options& options, Handler handler, Handler fail) : options_(options) {
  new_task_queue = [this] { return new BoundedTaskQueue(options_.threads, options_.most_waiting); };
  set_socket_options(&ReuseAddressOnly);
  // Before httplib's own routing, whose regular expressions nobody needs.
  set_pre_routing_handler(
      [handler = std::move(handler)](const httplib::Request& request, httplib::Response& response) {
        handler(request, response);
        return HandlerResponse::Handled;
      });
  set_error_handler(HandlerWithResponse(
      [fail = std::move(fail)](const httplib::Request& request, httplib::Response& response) {
        if (response.body.empty()) fail(request, response);
        // An impossible Range is refused before Serve can drop it, and httplib would then cut the
        // explanation to the ranges before the mistake. It owns the request, which is not const.
        const_cast<httplib::Request&>(request).ranges.clear();
        return HandlerResponse::Handled;
      }));
}

HttpServer::~HttpServer() { Stop(); }

absl::Status HttpServer::Start(const std::string& host, int port) {
  port_ = port;
  if (port == 0) {
    port_ = bind_to_any_port(host);
  } else if (!bind_to_port(host, port)) {
    port_ = -1;
  }
  if (port_ <= 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on port ", port, " of ", host,
                     "; check that it is free and that this user may use it"));
  }
  // Again, for a queue longer than httplib's of five.
  ::listen(svr_sock_, SOMAXCONN);
  acceptor_ = std::thread([this] {
    if (!listen_after_bind()) spdlog::error("status endpoint: it accepts no more connections");
  });
  // Until then stop() would do nothing. It is a matter of microseconds.
  while (!is_running()) std::this_thread::yield();
  return absl::OkStatus();
}

void HttpServer::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    for (const int socket : open_) ::shutdown(socket, SHUT_RDWR);
  }
  if (!acceptor_.joinable()) return;
  stop();
  acceptor_.join();
}

bool HttpServer::process_and_close_socket(int socket) {
  Register(socket);
  try {
    HttpConnection connection(socket, options_.limits,
                              options_.tls.has_value() ? &*options_.tls : nullptr);
    Serve(connection);
  } catch (const std::exception& error) {
    // httplib, or the standard library below it; one connection is no reason to end the process.
    spdlog::error("status endpoint: {}", error.what());
  }
  CloseAndForget(socket);
  return true;
}

void HttpServer::Serve(httplib::Stream& connection) {
  Serve(connection, [] { return false; });
}

void HttpServer::Serve(HttpConnection& connection) {
  Serve(connection, [&connection] { return connection.HasCertificate(); });
}

void HttpServer::Serve(httplib::Stream& connection, const std::function<bool()>& certified) {
  bool closed = false;
  process_request(connection, /*close_connection=*/true, closed, [&](httplib::Request& request) {
    // Parts of an answer are of no use here, and many small ones add up.
    request.ranges.clear();
    request.headers.erase(kCertified);
    if (certified()) request.set_header(kCertified, "yes");
  });
}

void HttpServer::Register(int socket) {
  MutexLock lock(&mutex_);
  open_.insert(socket);
  if (stopping_) ::shutdown(socket, SHUT_RDWR);
}

void HttpServer::CloseAndForget(int socket) {
  MutexLock lock(&mutex_);
  // In one go, so that Stop never meets the number of a socket that is another file by now.
  open_.erase(socket);
  ::shutdown(socket, SHUT_RDWR);
  ::close(socket);
}

}  // namespace espalier
