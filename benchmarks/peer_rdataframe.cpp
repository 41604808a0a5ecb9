// The search as a BESIII analyst would write it with ROOT: an RDataFrame over the same ntuple, one thread, all of it
// compiled (ACLiC at -O2 or more), the fit being that of kinfit_peers.cpp in plain loops over fixed arrays.
//
// Filters in the order of the publication, so that RDataFrame reads a column only for events that ask for it. What it
// books: a count after every step and histograms of M(KKee) and of chi2. The search books eleven histograms and the
// candidates' table besides; the peer does less.

#include <ROOT/RDataFrame.hxx>
#include <TStopwatch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "kinfit_peers.cpp"

namespace peer {
using Floats = ROOT::RVec<float>;
using Flags = ROOT::RVec<int>;

constexpr double kRadius = 333.564095, kMassE = 0.51099895e-3, kMassPi = 0.13957039, kMassK = 0.493677;
constexpr double kMass2[3] = {kMassE * kMassE, kMassPi* kMassPi, kMassK* kMassK};
constexpr double kInf = std::numeric_limits<double>::infinity();

// Tables of the calorimeter, in the order of a text file that benchmarks/peers.py writes.
struct EmcTables {
  std::vector<double> p, cosine, e_over_p, compactness, score, chi, quantiles;
  explicit EmcTables(const std::string& path) {
    std::ifstream in(path);
    for (auto* values : {&p, &cosine, &e_over_p, &compactness, &score, &chi, &quantiles}) {
      std::size_t n;
      in >> n;
      values->resize(n);
      for (double& value : *values) in >> value;
    }
  }
};

int last_below(const double* begin, std::size_t n, double value) {
  return int(std::upper_bound(begin, begin + n, value) - begin) - 1;
}

int bin(const std::vector<double>& edges, double value) {
  return value >= edges.front() && value < edges.back() ? last_below(edges.data(), edges.size(), value) : -1;
}

std::pair<int, double> node(const std::vector<double>& nodes, double value) {
  const int i = std::clamp(last_below(nodes.data(), nodes.size(), value), 0, int(nodes.size()) - 2);
  return {i, std::clamp((value - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0, 1.0)};
}

double quantile(const double* q, const std::vector<double>& chi, double score) {
  const int last = int(chi.size()) - 1, middle = int(chi.size()) / 2;
  for (const int end : {0, last})
    if ((score > q[end]) == (end == last) && score != q[end])
      return chi[end] + (chi[end] - chi[middle]) / (q[end] - q[middle]) * (score - q[end]);
  const int i = std::min(last_below(q, chi.size(), score), last - 1);
  const double width = q[i + 1] - q[i];
  return chi[i] + (width > 0 ? (score - q[i]) / width : 0.5) * (chi[i + 1] - chi[i]);
}

// chi of the calorimeter for e, pi, K; NaN without a cluster or outside the tables.
std::array<double, 3> emc_chi(const EmcTables& t, double p, double cosine, double energy, double e3x3, double e5x5) {
  const double nan = std::nan(""), ratio = energy > 0 ? energy / p : nan, compactness = e3x3 / e5x5;
  const int i = bin(t.p, p), j = bin(t.cosine, std::fabs(cosine));
  if (i < 0 || j < 0 || !std::isfinite(ratio + compactness)) return {nan, nan, nan};
  const auto [x, fx] = node(t.e_over_p, ratio);
  const auto [y, fy] = node(t.compactness, compactness);
  const std::size_t nx = t.e_over_p.size(), ny = t.compactness.size(), nc = t.cosine.size() - 1;
  const double* s = t.score.data() + (i * nc + j) * nx * ny;
  const double low = s[x * ny + y] * (1 - fy) + s[x * ny + y + 1] * fy;
  const double high = s[(x + 1) * ny + y] * (1 - fy) + s[(x + 1) * ny + y + 1] * fy;
  const double score = low * (1 - fx) + high * fx;
  const std::size_t cell = (i * nc + j) * t.chi.size(), kind = (t.p.size() - 1) * nc * t.chi.size();
  const double pion = quantile(t.quantiles.data() + kind + cell, t.chi, score);
  return {quantile(t.quantiles.data() + cell, t.chi, score), pion, pion};
}

double survival(double chi2, int ndof) {
  if (ndof == 2) return std::exp(-0.5 * chi2);
  const double tail = std::erfc(std::sqrt(0.5 * chi2));
  return ndof == 1 ? tail : tail + std::sqrt(2 * chi2 / M_PI) * std::exp(-0.5 * chi2);
}

Flags good(const Floats& dr, const Floats& phi0, const Floats& kappa, const Floats& dz, const Floats& tanl, float x,
           float y, float z, float field) {
  Flags out(dr.size());
  for (std::size_t t = 0; t < dr.size(); ++t) {
    const double k = kappa[t], l = tanl[t], rho = kRadius / (double(field) * k);
    const double c = std::cos(double(phi0[t])), s = std::sin(double(phi0[t]));
    const double cx = (dr[t] - rho) * c - x, cy = (dr[t] - rho) * s - y, side = std::copysign(1.0, k);
    const double turn = std::atan2(side * (s * cx - c * cy), -side * (c * cx + s * cy));
    out[t] = std::fabs(l / std::sqrt(1 + l * l)) < 0.93 && std::fabs(rho - side * std::hypot(cx, cy)) < 1.0 &&
             std::fabs(dz[t] + rho * l * turn - z) < 10.0;
  }
  return out;
}

// What the subsystems say of the good tracks: sums of chi2 and confidence levels of e, pi, K; ndof 0 without any.
struct Pid {
  std::vector<std::array<double, 3>> chi2, cl;
  std::vector<int> ndof;
};

struct PidMaker {
  std::shared_ptr<EmcTables> tables;
  Pid operator()(const Flags& good, const Floats& dedx_e, const Floats& dedx_pi, const Floats& dedx_k,
                 const ROOT::RVec<short>& n_hits, const Floats& time, const Floats& texp_e, const Floats& texp_pi,
                 const Floats& texp_k, const Floats& sigma, const ROOT::RVec<short>& quality, const Floats& kappa,
                 const Floats& tanl, const Floats& energy, const Floats& e3x3, const Floats& e5x5) const {
    const std::size_t n = good.size();
    Pid pid{std::vector<std::array<double, 3>>(n), std::vector<std::array<double, 3>>(n), std::vector<int>(n)};
    for (std::size_t t = 0; t < n; ++t) {
      if (!good[t]) continue;
      const double l = tanl[t], length = std::sqrt(1 + l * l);
      if (n_hits[t] > 0) add(pid, t, {dedx_e[t], dedx_pi[t], dedx_k[t]});
      if (quality[t] == 1 && sigma[t] > 0) {
        const double s = sigma[t], m = time[t];
        add(pid, t, {(m - texp_e[t]) / s, (m - texp_pi[t]) / s, (m - texp_k[t]) / s});
      }
      add(pid, t, emc_chi(*tables, length / std::fabs(double(kappa[t])), l / length, energy[t], e3x3[t], e5x5[t]));
      for (int h = 0; h < 3 && pid.ndof[t] > 0; ++h) pid.cl[t][h] = survival(pid.chi2[t][h], pid.ndof[t]);
    }
    return pid;
  }
  static void add(Pid& pid, std::size_t t, const std::array<double, 3>& chi) {
    const double smallest = std::min({std::fabs(chi[0]), std::fabs(chi[1]), std::fabs(chi[2])});
    if (!std::isfinite(chi[0] + chi[1] + chi[2]) || !(smallest < 4.0)) return;
    for (int h = 0; h < 3; ++h) pid.chi2[t][h] += chi[h] * chi[h];
    ++pid.ndof[t];
  }
};

double e_over_p(float energy, float kappa, float tanl) {
  const double l = tanl;
  return energy / (std::sqrt(1 + l * l) / std::fabs(double(kappa)));
}

Flags electrons(const Pid& pid, const Floats& energy, const Floats& kappa, const Floats& tanl) {
  Flags out(energy.size());
  for (std::size_t t = 0; t < out.size(); ++t) {
    if (pid.ndof[t] == 0) continue;
    const auto& cl = pid.cl[t];
    const double ratio = e_over_p(energy[t], kappa[t], tanl[t]);
    out[t] = cl[0] > 0.001 && cl[0] > 0.8 * (cl[0] + cl[1] + cl[2]) && ratio > 0.8 && ratio < 1.2;
  }
  return out;
}

Flags kaons(const Pid& pid, const Floats& energy, const Floats& kappa, const Floats& tanl) {
  Flags out(energy.size());
  for (std::size_t t = 0; t < out.size(); ++t)
    out[t] = pid.ndof[t] > 0 && pid.cl[t][2] > 0 && pid.cl[t][2] > pid.cl[t][1] &&
             e_over_p(energy[t], kappa[t], tanl[t]) < 0.8;
  return out;
}

using Candidate = std::array<int64_t, 4>;

std::vector<Candidate> combine(const ROOT::RVec<char>& charge, const Flags& is_electron, const Flags& is_kaon) {
  std::vector<Candidate> out;
  const int64_t n = charge.size();
  for (const int sign : {1, -1})
    for (int64_t a = 0; a < n; ++a)
      for (int64_t b = a + 1; b < n; ++b) {
        if (!is_kaon[a] || !is_kaon[b] || charge[a] * sign <= 0 || charge[b] * sign <= 0) continue;
        for (int64_t c = 0; c < n; ++c)
          for (int64_t d = c + 1; d < n; ++d)
            if (is_electron[c] && is_electron[d] && charge[c] * sign < 0 && charge[d] * sign < 0)
              out.push_back({a, b, c, d});
      }
  return out;
}

// Momentum at the interaction point and its covariance (xx, xy, xz, yy, yz, zz).
void momentum(double dr, double phi0, double kappa, double tanl, const std::array<double, 10>& c, double x, double y,
              double field, double* p, double* v) {
  const double rho = kRadius / (field * kappa), cos = std::cos(phi0), sin = std::sin(phi0);
  const double cx = (dr - rho) * cos - x, cy = (dr - rho) * sin - y, length = std::hypot(cx, cy);
  const double side = std::copysign(1.0, kappa), pt = 1 / std::fabs(kappa);
  const double along = (cx * cos + cy * sin) / (length * length);
  const double by_dr = (cx * sin - cy * cos) / (length * length);
  const double by_phi0 = (dr - rho) * along, by_kappa = by_dr * rho / kappa;
  const double kk = c[7], kt = c[8], tt = c[9];
  const double fk = by_dr * c[2] + by_phi0 * c[5] + by_kappa * kk;
  const double ft = by_dr * c[3] + by_phi0 * c[6] + by_kappa * kt;
  double ff = by_dr * (by_dr * c[0] + 2 * by_phi0 * c[1]) + by_phi0 * by_phi0 * c[4];
  ff += by_kappa * (2 * (by_dr * c[2] + by_phi0 * c[5]) + by_kappa * kk);
  const double px = pt * side * cy / length, py = -pt * side * cx / length, pz = pt * tanl;
  p[0] = px, p[1] = py, p[2] = pz;
  const double gk = fk / kappa, gt = pt * ft, gkk = kk / (kappa * kappa), gkt = pt * kt / kappa;
  v[0] = py * py * ff + 2 * px * py * gk + px * px * gkk;
  v[1] = -px * py * ff + (py * py - px * px) * gk + px * py * gkk;
  v[2] = -py * gt + py * pz * gk + px * pz * gkk - px * gkt;
  v[3] = px * px * ff - 2 * px * py * gk + py * py * gkk;
  v[4] = px * gt - px * pz * gk + py * pz * gkk - py * gkt;
  v[5] = pz * pz * gkk - 2 * pz * gkt + pt * pt * tt;
}

bool is_positive(const double* v) {
  const double minor2 = v[0] * v[3] - v[1] * v[1];
  const double minor3 = v[5] * minor2 - v[0] * v[4] * v[4] + 2 * v[1] * v[2] * v[4] - v[3] * v[2] * v[2];
  return v[0] > 0 && v[5] > 0 && minor2 > 1e-12 * v[0] * v[3] && minor3 > 1e-12 * v[0] * v[3] * v[5];
}

struct Best {
  Candidate tracks{};
  double chi2 = kInf, alternative = kInf, mass = 0;
};

Best fit(const std::vector<Candidate>& cands, const Floats& dr, const Floats& phi0, const Floats& kappa,
         const Floats& tanl, const Floats& c0, const Floats& c1, const Floats& c2, const Floats& c4, const Floats& c5,
         const Floats& c6, const Floats& c8, const Floats& c9, const Floats& c11, const Floats& c14, float x, float y,
         float field, float sqrt_s) {
  static const int64_t signal[4] = {2, 2, 0, 0}, kkkk[4] = {2, 2, 2, 2}, pipipipi[4] = {1, 1, 1, 1};
  static const int64_t kkpipi[4][4] = {{2, 1, 2, 1}, {2, 1, 1, 2}, {1, 2, 2, 1}, {1, 2, 1, 2}};
  const std::size_t n = dr.size();
  std::vector<double> p(3 * n), v(6 * n);
  for (std::size_t t = 0; t < n; ++t)
    momentum(dr[t], phi0[t], kappa[t], tanl[t], {c0[t], c1[t], c2[t], c4[t], c5[t], c6[t], c8[t], c9[t], c11[t], c14[t]},
             x, y, field, &p[3 * t], &v[6 * t]);
  const double ecm = 3.0969, total[4] = {ecm * std::tan(0.011), 0, 0, ecm / std::cos(0.011)};
  const auto chi2_of = [&](const Candidate& cand, const int64_t* species) {
    for (const int64_t t : cand)
      if (!is_positive(&v[6 * t])) return kInf;
    return fit_plain(p.data(), v.data(), cand.data(), species, kMass2, total, 1e-3, 1e-6, 20).chi2;
  };
  Best best;
  best.tracks = cands.front();
  for (const auto& cand : cands) {
    const double chi2 = chi2_of(cand, signal);
    if (chi2 < best.chi2) best.chi2 = chi2, best.tracks = cand;
  }
  const auto& c = best.tracks;
  if (best.chi2 < 200) {
    best.alternative = std::min(chi2_of(c, kkkk), chi2_of(c, pipipipi));
    for (const auto& species : kkpipi) best.alternative = std::min(best.alternative, chi2_of(c, species));
  }
  double sum[4] = {};
  for (int i = 0; i < 4; ++i) {
    double e2 = kMass2[signal[i]];
    for (int j = 0; j < 3; ++j) sum[j] += p[3 * c[i] + j], e2 += p[3 * c[i] + j] * p[3 * c[i] + j];
    sum[3] += std::sqrt(e2);
  }
  const double m2 = sum[3] * sum[3] - sum[0] * sum[0] - sum[1] * sum[1] - sum[2] * sum[2];
  best.mass = std::sqrt(std::max(m2, 0.0)) * (ecm / (std::fabs(sqrt_s - ecm) < 1e-5 ? ecm : sqrt_s));
  return best;
}

bool no_conversion(const Best& best, const Flags& good, const ROOT::RVec<char>& charge, const Floats& dr,
                   const Floats& phi0, const Floats& kappa, const Floats& tanl, float field) {
  const double alpha = kRadius / field;
  const auto circle = [&](std::size_t t) {
    const double rho = alpha / kappa[t], along = dr[t] - rho;
    return std::array<double, 3>{along * std::cos(double(phi0[t])), along * std::sin(double(phi0[t])), std::fabs(rho)};
  };
  for (const int i : {2, 3}) {
    const std::size_t e = best.tracks[i];
    const auto [x1, y1, r1] = circle(e);
    for (std::size_t t = 0; t < good.size(); ++t) {
      if (!good[t] || charge[e] * charge[t] >= 0) continue;
      const auto [x2, y2, r2] = circle(t);
      const double distance = std::hypot(x2 - x1, y2 - y1), ux = (x2 - x1) / distance, uy = (y2 - y1) / distance;
      const double radius = std::hypot(0.5 * (x1 + x2 + (r1 - r2) * ux), 0.5 * (y1 + y2 + (r1 - r2) * uy));
      const double tan1 = tanl[e], tan2 = tanl[t];
      const double pt1 = 1 / std::fabs(double(kappa[e])), pt2 = 1 / std::fabs(double(kappa[t]));
      const double e1 = std::sqrt(pt1 * pt1 * (1 + tan1 * tan1) + kMass2[0]);
      const double e2 = std::sqrt(pt2 * pt2 * (1 + tan2 * tan2) + kMass2[0]);
      const double pz = pt1 * tan1 + pt2 * tan2, pt = pt1 + pt2;
      const double m = std::sqrt(std::max((e1 + e2) * (e1 + e2) - pt * pt - pz * pz, 0.0));
      if (std::fabs(distance - r1 - r2) < 0.3 && radius > 2 && radius < 7.5 && m < 0.05) return false;
    }
  }
  return true;
}

int count(const Flags& flags) { return std::count_if(flags.begin(), flags.end(), [](int f) { return f > 0; }); }
}  // namespace peer

// Run the search over a file. Prints one line: the seconds, the events and the counts after each step; with a file name
// for it, writes the event numbers that pass each step, a line per step.
void peer_rdataframe(const char* path, const char* emc_tables, const char* passing = "") {
  using namespace peer;
  using std::string;
  TStopwatch clock;
  ROOT::RDataFrame frame("Events", path);
  const auto tables = std::make_shared<EmcTables>(emc_tables);
  const auto of = [](std::vector<string> names) {
    for (string& name : names) name = "Track_" + name;
    return names;
  };
  const auto with = [](std::vector<string> a, const std::vector<string>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const std::vector<string> shape = of({"emc_energy", "kappa", "tanl"});
  auto all = frame.Count();
  auto good_ = frame.Define("good", good, with(of({"dr", "phi0", "kappa", "dz", "tanl"}), {"ip_x", "ip_y", "ip_z", "field"}))
                   .Filter([](const Flags& g) { return count(g) > 0; }, {"good"});
  auto retained = good_.Filter(
      [](const Flags& g, const ROOT::RVec<char>& q) {
        int net = 0;
        for (std::size_t t = 0; t < g.size(); ++t) net += g[t] * q[t];
        return count(g) >= 4 && net == 0;
      },
      {"good", "Track_charge"});
  auto identified =
      retained
          .Define("pid", PidMaker{tables},
                  with({"good"}, of({"dedx_chi_e", "dedx_chi_pi", "dedx_chi_k", "dedx_n_hits", "tof_time", "tof_texp_e",
                                     "tof_texp_pi", "tof_texp_k", "tof_sigma", "tof_quality", "kappa", "tanl",
                                     "emc_energy", "emc_e3x3", "emc_e5x5"})))
          .Filter([](const Pid& p) { return std::count_if(p.ndof.begin(), p.ndof.end(), [](int n) { return n > 0; }) >= 4; },
                  {"pid"});
  auto with_e = identified.Define("is_electron", electrons, with({"pid"}, shape))
                    .Filter([](const Flags& f) { return count(f) >= 2; }, {"is_electron"});
  auto with_k = with_e.Define("is_kaon", kaons, with({"pid"}, shape))
                    .Filter([](const Flags& f) { return count(f) >= 2; }, {"is_kaon"});
  auto combined = with_k.Define("cands", combine, {"Track_charge", "is_electron", "is_kaon"})
                      .Filter([](const std::vector<Candidate>& c) { return !c.empty(); }, {"cands"});
  auto fitted = combined
                    .Define("best", fit,
                            with(with({"cands"}, of({"dr", "phi0", "kappa", "tanl", "cov0", "cov1", "cov2", "cov4",
                                                     "cov5", "cov6", "cov8", "cov9", "cov11", "cov14"})),
                                 {"ip_x", "ip_y", "field", "sqrt_s"}))
                    .Filter([](const Best& b) { return b.chi2 < 200; }, {"best"});
  auto winning = fitted.Filter([](const Best& b) { return b.chi2 < b.alternative; }, {"best"});
  auto small = winning.Filter([](const Best& b) { return b.chi2 < 20; }, {"best"});
  auto prompt = small.Filter(no_conversion, with({"best", "good"}, with(of({"charge", "dr", "phi0", "kappa", "tanl"}), {"field"})));
  auto in_region = prompt.Filter([](const Best& b) { return b.mass >= 3.07 && b.mass <= 3.12; }, {"best"});
  const auto mass = [](const Best& b) { return b.mass; };
  const auto chi2 = [](const Best& b) { return b.chi2; };
  auto masses = prompt.Define("m_kkee", mass, {"best"}).Histo1D<double>({"m_kkee", "", 400, 2.9, 3.3}, "m_kkee");
  auto chi2s = fitted.Define("chi2_4c", chi2, {"best"}).Histo1D<double>({"chi2_4c", "", 200, 0, 200}, "chi2_4c");
  std::vector<ROOT::RDF::RResultPtr<ULong64_t>> counts = {
      good_.Count(),    retained.Count(), identified.Count(), with_e.Count(), with_k.Count(),   combined.Count(),
      fitted.Count(), winning.Count(),  small.Count(),      prompt.Count(), in_region.Count()};
  std::vector<ROOT::RDF::RResultPtr<std::vector<Long64_t>>> lists;
  if (*passing != 0) {
    const auto take = [&](auto& node) { lists.push_back(node.template Take<Long64_t>("event")); };
    take(good_), take(retained), take(identified), take(with_e), take(with_k), take(combined);
    take(fitted), take(winning), take(small), take(prompt), take(in_region);
  }
  const double n = *all;
  printf("PEER %.6f %.0f", clock.RealTime(), n);
  for (auto& value : counts) printf(" %llu", *value);
  printf(" %.0f %.0f\n", masses->GetEntries(), chi2s->GetEntries());
  fflush(stdout);
  if (lists.empty()) return;
  std::ofstream out(passing);
  for (auto& list : lists) {
    for (const Long64_t event : *list) out << event << ' ';
    out << '\n';
  }
}
