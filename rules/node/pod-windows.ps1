# Prints what HNS holds on this node, as text that `migrate scan --nodes` checks and unpacks. It only reads, and
# writes no file: everything stays in memory until it is printed.
$ErrorActionPreference = 'Stop'
$utf8 = New-Object System.Text.UTF8Encoding($false)
$sha256 = [System.Security.Cryptography.SHA256]::Create()

function Get-Digest([byte[]]$bytes) {
    return ([System.BitConverter]::ToString($sha256.ComputeHash($bytes)) -replace '-', '').ToLowerInvariant()
}

# Nodes of AKS bring the commands in this file, newer Windows has them itself.
if (-not (Get-Command Get-HnsEndpoint -ErrorAction SilentlyContinue) -and (Test-Path 'C:\k\hns.psm1')) {
    Import-Module 'C:\k\hns.psm1' -DisableNameChecking
}

$commands = [ordered]@{
    'hns-endpoints.json' = 'Get-HnsEndpoint | ConvertTo-Json -Depth 9'
    'hcn-endpoints.json' = 'Get-HnsEndpoint -Version 2 | ConvertTo-Json -Depth 9'
    'hcn-networks.json'  = 'Get-HnsNetwork -Version 2 | ConvertTo-Json -Depth 9'
    'windows.txt'        = '[Environment]::OSVersion.Version.ToString()'
}
$bodies = [ordered]@{}
$files = @()
foreach ($name in $commands.Keys) {
    $file = [ordered]@{ name = $name; command = $commands[$name] }
    try {
        $text = ((& ([scriptblock]::Create($commands[$name]))) -join "`n").Trim()
        if (-not $text) { $text = '[]' }
        $bodies[$name] = $utf8.GetBytes($text + "`n")
        $file.status = 'read'
        $file.sha256 = Get-Digest $bodies[$name]
    } catch {
        $file.status = 'failed'
        $file.detail = [string]$_
    }
    $files += $file
}
$started = (Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToUniversalTime()
$manifest = [ordered]@{
    apiVersion  = 'cilium-migrate/v1alpha1'
    kind        = 'NodeDump'
    toolVersion = $env:MIGRATE_VERSION
    name        = $env:MIGRATE_NODE_NAME
    system      = 'windows'
    way         = 'pod'
    taken       = [DateTime]::UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'")
    booted      = $started.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'")
    files       = @($files)
}

$packed = New-Object System.IO.MemoryStream
$zip = New-Object System.IO.Compression.GZipStream($packed, [System.IO.Compression.CompressionMode]::Compress, $true)
function Add-File([string]$name, [byte[]]$bytes) {
    $head = $utf8.GetBytes((ConvertTo-Json -Compress ([ordered]@{ name = $name; size = $bytes.Length })) + "`n")
    $zip.Write($head, 0, $head.Length)
    $zip.Write($bytes, 0, $bytes.Length)
}
Add-File 'node.json' ($utf8.GetBytes((ConvertTo-Json -Depth 4 -Compress $manifest)))
foreach ($name in $bodies.Keys) { Add-File $name $bodies[$name] }
$zip.Dispose()

$data = $packed.ToArray()
$lines = [int][Math]::Ceiling($data.Length / 3072)
[Console]::Out.NewLine = "`n"
[Console]::Out.WriteLine('cilium-migrate-bundle 1 {0} {1} {2}' -f $lines, $data.Length, (Get-Digest $data))
for ($number = 0; $number -lt $lines; $number++) {
    $length = [Math]::Min(3072, $data.Length - $number * 3072)
    [Console]::Out.WriteLine('b {0} {1}' -f $number, [Convert]::ToBase64String($data, $number * 3072, $length))
}
[Console]::Out.WriteLine('cilium-migrate-bundle end')
