// Early return on errors, in the manner of the macros that Abseil's users know.
//
//   ESPALIER_RETURN_IF_ERROR(DoSomething());
//   ESPALIER_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
#ifndef ESPALIER_COMMON_STATUS_MACROS_H_
#define ESPALIER_COMMON_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define ESPALIER_RETURN_IF_ERROR(expr)                   \
  do {                                                   \
    absl::Status espalier_status_ = (expr);              \
    if (!espalier_status_.ok()) return espalier_status_; \
  } while (false)

#define ESPALIER_CONCAT_INNER_(a, b) a##b
#define ESPALIER_CONCAT_(a, b) ESPALIER_CONCAT_INNER_(a, b)

#define ESPALIER_ASSIGN_OR_RETURN_(temporary, lhs, expr) \
  auto temporary = (expr);                               \
  if (!temporary.ok()) return temporary.status();        \
  lhs = *std::move(temporary)

#define ESPALIER_ASSIGN_OR_RETURN(lhs, expr) \
  ESPALIER_ASSIGN_OR_RETURN_(ESPALIER_CONCAT_(espalier_or_, __LINE__), lhs, expr)

#endif  // ESPALIER_COMMON_STATUS_MACROS_H_
