using System.Net.Sockets;
using System.Text;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>virtio-console under Linux's own driver: hvc0 as the console, the terminal's size, and a port with a name.</summary>
public sealed class ConsoleGuestTests
{
    [KvmFact]
    public void A_shell_on_hvc0_follows_the_terminals_size_and_a_port_leads_to_the_host()
    {
        using var folder = new TemporaryFolder();
        using var terminal = new VmmTerminal(
            "--kernel", Product.Vmlinux, "--mem", "128M", "--disk", Product.Rootfs + ",ephemeral", "--cmdline", "quiet",
            "--console", "virtio", "--port", $"data={folder["port"]}");
        terminal.Resize(rows: 33, columns: 101);
        terminal.Screen.WaitFor(GuestScript.Prompt);
        terminal.Type("echo on $(cat /sys/class/tty/console/active), size $(stty size)" + VmmTerminal.Enter);
        terminal.Screen.WaitFor("on hvc0, size 33 101");
        terminal.Resize(rows: 44, columns: 132);
        terminal.Type("sleep 1; echo now $(stty size)" + VmmTerminal.Enter);
        terminal.Screen.WaitFor("now 44 132");

        using var program = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        program.Connect(new UnixDomainSocketEndPoint(folder["port"]));
        program.Send("from the host\n"u8);
        terminal.Type("name=$(grep -l data /sys/class/virtio-ports/*/name); exec 3<>/dev/$(basename ${name%/name})" + VmmTerminal.Enter);
        terminal.Type("read line <&3; echo heard $line; echo from the guest >&3" + VmmTerminal.Enter);
        terminal.Screen.WaitFor("heard from the host");
        byte[] answer = new byte[15];
        program.ReceiveTimeout = (int)Product.Patience.TotalMilliseconds;
        Assert.Equal("from the guest\n", Encoding.ASCII.GetString(answer, 0, ReadAll(program, answer)));
        terminal.Type("reboot -f" + VmmTerminal.Enter);
        (int code, string settings, string screen) = terminal.Finish();
        Assert.True(code == ExitCodes.Success, screen);
        Assert.Equal(terminal.SettingsBefore, settings);
        Assert.False(File.Exists(folder["port"]));
    }

    private static int ReadAll(Socket socket, byte[] buffer)
    {
        int got = 0;
        while (got < buffer.Length && socket.Receive(buffer.AsSpan(got)) is > 0 and var part)
        {
            got += part;
        }

        return got;
    }
}
