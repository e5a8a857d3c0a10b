// The live page: one HTML document with its style and script inside (page.html, page.css, page.js,
// put together when the program is built).
#ifndef ESPALIER_COORDINATOR_STATUS_PAGE_H_
#define ESPALIER_COORDINATOR_STATUS_PAGE_H_

#include <string_view>

namespace espalier {

std::string_view StatusPage();

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_PAGE_H_
