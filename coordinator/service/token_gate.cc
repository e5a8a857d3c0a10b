#include "coordinator/service/token_gate.h"

#include <spdlog/spdlog.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

constexpr absl::string_view kScheme = "Bearer ";

}  // namespace

absl::Status TokenGate::Check(const grpc::ServerContextBase& context) const {
  if (!tokens_.has_value()) return absl::OkStatus();
  const auto& metadata = context.client_metadata();
  const auto header = metadata.find("authorization");
  const char* wrong = "a token is asked for here, and none came";
  if (header != metadata.end()) {
    const absl::string_view value(header->second.data(), header->second.size());
    const bool bearer = absl::StartsWithIgnoreCase(value, kScheme);
    if (bearer &&
        tokens_->Contains({value.data() + kScheme.size(), value.size() - kScheme.size()})) {
      return absl::OkStatus();
    }
    wrong = bearer ? "the token that came is none of those known here"
                   : "the authorization that came is no bearer token";
  }
  spdlog::warn("refused a call from {}: {}", context.peer(), wrong);
  return absl::UnauthenticatedError(absl::StrCat(wrong, "; ", advice_));
}

}  // namespace espalier
