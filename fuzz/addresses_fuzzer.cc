#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/dial_address.h"
#include "common/listen_address.h"
#include "common/status_macros.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

absl::Status CheckListen(const ListenAddress& address) {
  const std::string text = address.ToString();
  const absl::StatusOr<ListenAddress> again = ParseListenAddress(text);
  if (!again.ok()) return again.status();
  ESPALIER_RETURN_IF_ERROR(Require(again->unix_path == address.unix_path &&
                                       again->host == address.host && again->port == address.port,
                                   "a written address reads back the same"));
  const std::optional<DialAddress> dialled = ParseDialAddress(text);
  ESPALIER_RETURN_IF_ERROR(
      Require(dialled && dialled->host == address.host && dialled->unix_path == address.unix_path,
              "who dials what is listened on means the same host"));
  return Require(dialled->IsLoopback() == address.IsLoopback(),
                 "both sides agree on what stays on this machine");
}

}  // namespace

absl::Status Addresses(std::string_view input) {
  const std::string text(input);
  const absl::StatusOr<ListenAddress> listen = ParseListenAddress(text);
  if (listen.ok()) ESPALIER_RETURN_IF_ERROR(CheckListen(*listen));
  const std::optional<DialAddress> dial = ParseDialAddress(text);
  if (!dial) return absl::OkStatus();
  ESPALIER_RETURN_IF_ERROR(
      Require(dial->unix_path.empty() != dial->host.empty(), "an address is a path or a host"));
  return Require(!IsLoopbackHost(dial->host) || dial->host.find('\0') == std::string::npos,
                 "no other host hides behind a loopback address");
}

}  // namespace espalier::fuzz
