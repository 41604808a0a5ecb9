"""Fast simulation of BESIII samples: generator, detector response, writer."""
