#include "output/html_page.hpp"

#include "output/svg.hpp"

#include <cctype>

namespace crossover::html {
namespace {

/// Without `<` and `&`, so that it reads the same as HTML and as XML.
constexpr std::string_view kStyles = R"(
:root{color-scheme:light dark;--paper:#fff;--ink:#1c212b;--soft:#596273;--rule:#dfe2e8;--wash:#f4f5f8}
@media screen and (prefers-color-scheme:dark){
:root{--paper:#15181d;--ink:#e6e8ec;--soft:#a3abb9;--rule:#333842;--wash:#1e222a}}
*{box-sizing:border-box;-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{margin:0 auto;max-width:68rem;padding:1.5rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-bottom:.25rem;border-bottom:1px solid var(--rule)}
h3,summary{font-size:1.05rem;font-weight:600;margin:2rem 0 .5rem}
h4{font-size:.95rem;margin:1.25rem 0 .35rem}
p{margin:.5rem 0;max-width:52rem}
a{color:inherit}
section,details{scroll-margin-top:1rem}
summary{cursor:pointer}
.soft,figcaption{color:var(--soft);font-size:.86rem}
.wide{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{vertical-align:top;text-align:left;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--rule);white-space:nowrap}
th{font-weight:600;color:var(--soft);white-space:normal;vertical-align:bottom}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(7.5rem,1fr));gap:.5rem 1.25rem;margin:1rem 0;
padding:.75rem 1rem;background:var(--wash);border-radius:.4rem}
dt{font-size:.76rem;color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
ul.facts{margin:.25rem 0;padding-left:1.1rem;font-size:.9rem;max-width:60rem}
ul.key{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;margin:.5rem 0 .25rem;padding:0;list-style:none;font-size:.86rem}
ul.key li{display:flex;align-items:center;gap:.4rem}
figure{margin:.5rem 0 1rem;max-width:60rem;overflow-x:auto}
figure>svg{display:block;width:100%;min-width:36rem;height:auto}
svg{overflow:visible}
svg.line{width:30px;height:10px;flex:none}
svg.swatch{width:16px;height:14px;flex:none}
svg text{font-family:inherit;font-variant-numeric:tabular-nums}
.tick,.label{fill:var(--soft);font-size:11px}
.label{font-size:11.5px}
.name{fill:currentColor;font-size:12px;font-weight:600;stroke:var(--paper);stroke-width:4px;paint-order:stroke}
.grid{stroke:var(--rule)}
.zero{stroke:var(--soft)}
.guard{fill:var(--soft);opacity:.16}
.ci{fill:currentColor;stroke:currentColor;fill-opacity:.13;stroke-opacity:.45}
.limit{stroke:currentColor;stroke-width:1.2;stroke-dasharray:5 3}
.curve{fill:none;stroke:currentColor;stroke-linejoin:round}
.dots,.dot{fill:none;stroke:currentColor;stroke-width:3.4;stroke-linecap:round}
.dots{opacity:.3}
.dot{stroke-width:6}
.none{color:var(--rule)}
.choice{fill:currentColor;stroke:var(--paper)}
.rn{fill:none;stroke:var(--soft);stroke-width:.8;stroke-dasharray:2 2}
.held{stroke:var(--ink);stroke-width:1.3}
.bar{fill:currentColor;pointer-events:none}
@media print{
body{max-width:none;padding:0;font-size:10pt}
section:has(figure),details:has(figure){break-before:page}
h2.cells{break-before:page}
h2+section,h2+details{break-before:auto}
figure,tr,dl{break-inside:avoid}
h2,h3,h4,summary,ul.key{break-after:avoid}
figure,.wide{overflow:visible}
figure>svg{min-width:0;max-width:12.5cm}
th,td{padding-right:.45rem}
table,td .soft{font-size:7pt}
dl{gap:.2rem 1rem;padding:.5rem .75rem;font-size:8pt}
dt{font-size:7pt}
ul.facts,ul.key,figcaption,p.soft{font-size:8pt}
details::details-content{content-visibility:visible;display:block}
}
)";

} // namespace

Content::Content(std::string_view text) : text_(svg::escaped(text)) {}

Content Content::markup(std::string well_formed) {
    Content content;
    content.text_ = std::move(well_formed);
    return content;
}

std::string element(const std::string& name, const Content& content, std::string_view style) {
    const std::string attributes = style.empty() ? "" : " class=\"" + std::string(style) + "\"";
    return "<" + name + attributes + ">" + content.str() + "</" + name + ">";
}

Content link_to(std::string_view id, const Content& content) {
    return Content::markup("<a href=\"#" + std::string(id) + "\">" + content.str() + "</a>");
}

std::string anchor(std::string_view name) {
    std::string id(name);
    for (char& c : id)
        if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') c = '-';
    return id;
}

std::string table(const std::vector<std::vector<Content>>& rows) {
    std::string out = "<div class=\"wide\"><table>\n";
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (i == 0) out += "<thead>";
        out += "<tr>";
        for (const Content& cell : rows[i]) out += element(i == 0 ? "th" : "td", cell);
        out += i == 0 ? "</tr></thead>\n<tbody>\n" : "</tr>\n";
    }
    return out + "</tbody></table></div>\n";
}

std::string page(std::string_view title, std::string_view styles, const std::string& body) {
    return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n" +
           element("title", title) + "\n<style>" + std::string(kStyles) + std::string(styles) +
           "</style>\n</head>\n<body>\n" + body + "</body>\n</html>\n";
}

} // namespace crossover::html
