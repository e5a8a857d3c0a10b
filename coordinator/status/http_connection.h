// One connection of an HTTP or HTTPS client, as httplib reads and writes it, with limits of its
// own: httplib bounds neither a whole request's time nor its headers' size, and cannot be
// interrupted.
#ifndef ESPALIER_COORDINATOR_STATUS_HTTP_CONNECTION_H_
#define ESPALIER_COORDINATOR_STATUS_HTTP_CONNECTION_H_

#include <httplib.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

#include "coordinator/status/tls_session.h"

namespace espalier {

struct ConnectionLimits {
  std::chrono::milliseconds request_time{5000};  // to send the request, from its first byte to last
  std::chrono::milliseconds write_time{5000};    // to take what is given to one write
  size_t request_bytes = 32 << 10;               // with TLS, as they come over the network
};

// Does not own the socket. To end it from another thread, shutdown(2) the socket.
class HttpConnection final : public httplib::Stream {
 public:
  // `tls` may be null: nothing is encrypted.
  HttpConnection(int socket, const ConnectionLimits& limits, const TlsContext* tls);
  // Whether the client has shown a certificate of the client CA.
  bool HasCertificate() const { return tls_.has_value() && tls_->HasCertificate(); }

  // Errors, the end and the limits are all -1 or 0, as httplib expects.
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  bool is_readable() const override;
  bool is_writable() const override;  // false also when the peer is gone
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  int socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;

  bool Fill();  // the buffer
  // Some bytes as they come, before the deadline of the request; 0: none.
  size_t Receive(char* data, size_t size);
  bool SendAll(const char* data, size_t size);

  const int socket_;
  const ConnectionLimits limits_;
  const Clock::time_point request_deadline_;
  std::array<char, 4096> buffer_;
  size_t begin_ = 0;  // of what is buffered and not yet read
  size_t end_ = 0;
  size_t received_ = 0;
  std::optional<TlsSession> tls_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_HTTP_CONNECTION_H_
