namespace Vmm.Host;

/// <summary>Who may use a terminal (POSIX, 11.1.4 Terminal Access Control).</summary>
internal static class JobControl
{
    /// <summary>May this process read the terminal and change its settings? True too where it is not the process's controlling
    /// terminal: then there is no job control.</summary>
    public static bool IsInForeground(int terminal)
    {
        int foreground = LibC.tcgetpgrp(terminal);
        return foreground < 0 || foreground == LibC.getpgrp();
    }
}
