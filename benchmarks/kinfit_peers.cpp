// The 4C fit of analysis/kinfit in C++: what the compiled peers of benchmarks/kinfit.py run.
//
// All take the same arrays and stop by the same rule: |change of chi2| < tol and |sum E - E| < etol.
//   unrolled   Schur form, fixed arrays, the four tracks written out
//   plain      4x4 constraint matrix in plain loops over fixed arrays, Cholesky
//   clhep      CLHEP matrices of run-time size, 16 parameters, as BOSS's KalmanKinematicFit holds them

#include <cmath>
#include <cstdint>
#include <limits>

namespace {
constexpr int kOk = 0, kNotConverged = 1;

struct Fit {
  double chi2;
  int status;
  int n_iter;
};


}  // namespace

// One track of the hand-unrolled fit: measured momentum, covariance, iterate.
#define TRACK(i)                                                                                    \
  const double* a##i = p + 3 * (t[i]);                                                              \
  const double* c##i = v + 6 * (t[i]);                                                              \
  const double m##i = mass2[s[i]];                                                                  \
  double x##i = a##i[0], y##i = a##i[1], z##i = a##i[2];                                            \
  double e##i = std::sqrt(x##i * x##i + y##i * y##i + z##i * z##i + m##i);                          \
  double vx##i, vy##i, vz##i;

#define LINEARISE(i)                                                                                \
  {                                                                                                 \
    const double f = 1.0 / e##i;                                                                    \
    const double bx = x##i * f, by = y##i * f, bz = z##i * f;                                       \
    vx##i = c##i[0] * bx + c##i[1] * by + c##i[2] * bz;                                             \
    vy##i = c##i[1] * bx + c##i[3] * by + c##i[4] * bz;                                             \
    vz##i = c##i[2] * bx + c##i[4] * by + c##i[5] * bz;                                             \
    ux += vx##i;                                                                                    \
    uy += vy##i;                                                                                    \
    uz += vz##i;                                                                                    \
    q += bx * vx##i + by * vy##i + bz * vz##i;                                                      \
    d += m##i * f + bx * a##i[0] + by * a##i[1] + bz * a##i[2];                                     \
  }

#define MOVE(i)                                                                                     \
  x##i = a##i[0] - (c##i[0] * lx + c##i[1] * ly + c##i[2] * lz + vx##i * le);                       \
  y##i = a##i[1] - (c##i[1] * lx + c##i[3] * ly + c##i[4] * lz + vy##i * le);                       \
  z##i = a##i[2] - (c##i[2] * lx + c##i[4] * ly + c##i[5] * lz + vz##i * le);                       \
  e##i = std::sqrt(x##i * x##i + y##i * y##i + z##i * z##i + m##i);                                 \
  energy += e##i;

static inline Fit fit_unrolled(const double* p, const double* v, const int64_t* t, const int64_t* s,
                               const double* mass2, const double* p4, double tol, double etol, int max_iter) {
  TRACK(0) TRACK(1) TRACK(2) TRACK(3)
  const double rx = x0 + x1 + x2 + x3 - p4[0], ry = y0 + y1 + y2 + y3 - p4[1], rz = z0 + z1 + z2 + z3 - p4[2];
  const double xx = c0[0] + c1[0] + c2[0] + c3[0], xy = c0[1] + c1[1] + c2[1] + c3[1];
  const double xz = c0[2] + c1[2] + c2[2] + c3[2], yy = c0[3] + c1[3] + c2[3] + c3[3];
  const double yz = c0[4] + c1[4] + c2[4] + c3[4], zz = c0[5] + c1[5] + c2[5] + c3[5];
  double wxx = yy * zz - yz * yz, wxy = xz * yz - xy * zz, wxz = xy * yz - xz * yy;
  double wyy = xx * zz - xz * xz, wyz = xy * xz - xx * yz, wzz = xx * yy - xy * xy;
  const double norm = 1.0 / (xx * wxx + xy * wxy + xz * wxz);
  wxx *= norm, wxy *= norm, wxz *= norm, wyy *= norm, wyz *= norm, wzz *= norm;
  const double wx = wxx * rx + wxy * ry + wxz * rz;
  const double wy = wxy * rx + wyy * ry + wyz * rz;
  const double wz = wxz * rx + wyz * ry + wzz * rz;
  const double chi2_3c = wx * rx + wy * ry + wz * rz;
  double previous = std::numeric_limits<double>::infinity();
  for (int n = 1; n <= max_iter; ++n) {
    double ux = 0, uy = 0, uz = 0, q = 0, d = -p4[3];
    LINEARISE(0) LINEARISE(1) LINEARISE(2) LINEARISE(3)
    const double wux = wxx * ux + wxy * uy + wxz * uz;
    const double wuy = wxy * ux + wyy * uy + wyz * uz;
    const double wuz = wxz * ux + wyz * uy + wzz * uz;
    const double schur = q - (ux * wux + uy * wuy + uz * wuz);
    d -= ux * wx + uy * wy + uz * wz;
    const double le = d / schur, chi2 = chi2_3c + d * le;
    const double lx = wx - wux * le, ly = wy - wuy * le, lz = wz - wuz * le;
    double energy = -p4[3];
    MOVE(0) MOVE(1) MOVE(2) MOVE(3)
    if (std::fabs(chi2 - previous) < tol && std::fabs(energy) < etol) return {chi2, kOk, n};
    previous = chi2;
  }
  return {std::numeric_limits<double>::infinity(), kNotConverged, max_iter};
}

static inline Fit fit_plain(const double* p, const double* v, const int64_t* t, const int64_t* s,
                            const double* mass2, const double* p4, double tol, double etol, int max_iter) {
  static const int packed[3][3] = {{0, 1, 2}, {1, 3, 4}, {2, 4, 5}};
  double p0[4][3], c[4][3][3], q[4][3];
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 3; ++j) {
      p0[i][j] = q[i][j] = p[3 * t[i] + j];
      for (int k = 0; k < 3; ++k) c[i][j][k] = v[6 * t[i] + packed[j][k]];
    }
  double previous = std::numeric_limits<double>::infinity();
  for (int n = 1; n <= max_iter; ++n) {
    double a[4][4][3], ca[4][4][3], g[4], w[4][4] = {};
    for (int k = 0; k < 4; ++k) g[k] = -p4[k];
    for (int i = 0; i < 4; ++i) {
      double e2 = mass2[s[i]];
      for (int j = 0; j < 3; ++j) e2 += q[i][j] * q[i][j];
      const double e = std::sqrt(e2);
      g[3] += e;
      for (int j = 0; j < 3; ++j) {
        for (int k = 0; k < 3; ++k) a[i][k][j] = k == j;
        a[i][3][j] = q[i][j] / e;
        g[j] += p0[i][j];
        g[3] += a[i][3][j] * (p0[i][j] - q[i][j]);
      }
      for (int k = 0; k < 4; ++k)
        for (int j = 0; j < 3; ++j) {
          ca[i][k][j] = 0;
          for (int l = 0; l < 3; ++l) ca[i][k][j] += c[i][j][l] * a[i][k][l];
        }
      for (int k = 0; k < 4; ++k)
        for (int l = 0; l < 4; ++l)
          for (int j = 0; j < 3; ++j) w[k][l] += a[i][k][j] * ca[i][l][j];
    }
    double lower[4][4] = {}, x[4];
    for (int k = 0; k < 4; ++k)
      for (int l = 0; l <= k; ++l) {
        double sum = w[k][l];
        for (int j = 0; j < l; ++j) sum -= lower[k][j] * lower[l][j];
        lower[k][l] = k == l ? std::sqrt(sum) : sum / lower[l][l];
      }
    double chi2 = 0;
    for (int k = 0; k < 4; ++k) {
      x[k] = g[k];
      for (int j = 0; j < k; ++j) x[k] -= lower[k][j] * x[j];
      x[k] /= lower[k][k];
      chi2 += x[k] * x[k];
    }
    for (int k = 3; k >= 0; --k) {
      for (int j = k + 1; j < 4; ++j) x[k] -= lower[j][k] * x[j];
      x[k] /= lower[k][k];
    }
    double energy = -p4[3];
    for (int i = 0; i < 4; ++i) {
      double e2 = mass2[s[i]];
      for (int j = 0; j < 3; ++j) {
        q[i][j] = p0[i][j];
        for (int k = 0; k < 4; ++k) q[i][j] -= ca[i][k][j] * x[k];
        e2 += q[i][j] * q[i][j];
      }
      energy += std::sqrt(e2);
    }
    if (std::fabs(chi2 - previous) < tol && std::fabs(energy) < etol) return {chi2, kOk, n};
    previous = chi2;
  }
  return {std::numeric_limits<double>::infinity(), kNotConverged, max_iter};
}

#ifdef WITH_CLHEP
#include <CLHEP/Matrix/Matrix.h>
#include <CLHEP/Matrix/SymMatrix.h>
#include <CLHEP/Matrix/Vector.h>

static Fit fit_clhep(const double* p, const double* v, const int64_t* t, const int64_t* s, const double* mass2,
                     const double* p4, double tol, double etol, int max_iter) {
  using CLHEP::HepMatrix;
  using CLHEP::HepSymMatrix;
  using CLHEP::HepVector;
  static const int packed[3][3] = {{0, 1, 2}, {1, 3, 4}, {2, 4, 5}};
  HepVector origin(16, 0);
  HepSymMatrix c0(16, 0);
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 3; ++j) {
      origin[4 * i + j] = p[3 * t[i] + j];
      for (int k = 0; k <= j; ++k) c0[4 * i + j][4 * i + k] = v[6 * t[i] + packed[j][k]];
    }
    origin[4 * i + 3] = std::sqrt(mass2[s[i]]);
  }
  HepVector q = origin;
  double previous = std::numeric_limits<double>::infinity();
  for (int n = 1; n <= max_iter; ++n) {
    HepMatrix a(4, 16, 0);
    HepVector g(4, 0);
    for (int k = 0; k < 4; ++k) g[k] = -p4[k];
    for (int i = 0; i < 4; ++i) {
      double e2 = q[4 * i + 3] * q[4 * i + 3];
      for (int j = 0; j < 3; ++j) e2 += q[4 * i + j] * q[4 * i + j];
      const double e = std::sqrt(e2);
      g[3] += e;
      for (int j = 0; j < 3; ++j) {
        a[j][4 * i + j] = 1;
        a[3][4 * i + j] = q[4 * i + j] / e;
        g[j] += q[4 * i + j];
      }
      a[3][4 * i + 3] = q[4 * i + 3] / e;
    }
    int failed = 0;
    const HepSymMatrix w = c0.similarity(a).inverse(failed);
    const HepVector residual = a * (origin - q) + g;
    const HepMatrix gain = c0 * a.T() * w;
    const double chi2 = w.similarity(residual.T())(1, 1);
    q = origin - gain * residual;
    double energy = -p4[3];
    for (int i = 0; i < 4; ++i) {
      double e2 = q[4 * i + 3] * q[4 * i + 3];
      for (int j = 0; j < 3; ++j) e2 += q[4 * i + j] * q[4 * i + j];
      energy += std::sqrt(e2);
    }
    if (failed) return {std::numeric_limits<double>::infinity(), kNotConverged, n};
    if (std::fabs(chi2 - previous) < tol && std::fabs(energy) < etol) return {chi2, kOk, n};
    previous = chi2;
  }
  return {std::numeric_limits<double>::infinity(), kNotConverged, max_iter};
}
#endif

#define LOOP(name)                                                                                              \
  extern "C" void name(const double* p, const double* v, const int64_t* cand, const int64_t* species, int64_t n, \
                       const double* mass2, const double* p4, double tol, double etol, int64_t max_iter,         \
                       double* chi2, int8_t* status, int8_t* n_iter) {                                           \
    for (int64_t i = 0; i < n; ++i) {                                                                            \
      const Fit fit = fit_##name(p, v, cand + 4 * i, species, mass2, p4, tol, etol, int(max_iter));              \
      chi2[i] = fit.chi2, status[i] = int8_t(fit.status), n_iter[i] = int8_t(fit.n_iter);                        \
    }                                                                                                            \
  }

LOOP(unrolled)
LOOP(plain)
#ifdef WITH_CLHEP
LOOP(clhep)
#endif
