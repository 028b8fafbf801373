// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {RateLimiter} from "@openzeppelin/contracts/utils/RateLimiter.sol";

/// @title Settlement currency of a community: minted against money paid in outside, burnt when it is paid out.
/// @notice Nine decimals, so that one base unit is one nano-currency. A settlement may be deployed on any other ERC-20
/// with at least nine decimals instead. How much can be minted within a time is limited by a leaky bucket, so that a
/// stolen minter's key is noticed before it has ruined the currency.
contract EnergyToken is ERC20, ERC20Permit, AccessControl {
    using RateLimiter for RateLimiter.RefillingBucket;

    bytes32 private constant ALL_MINTERS = 0;

    /// @notice Who may mint.
    bytes32 public constant MINTER_ROLE = keccak256("MINTER_ROLE");

    /// @notice `amount` base units were created for `to` against the payment `paymentId` made outside.
    event MintedAgainst(bytes32 indexed paymentId, address indexed to, uint256 amount);
    /// @notice At most `capacity` base units are minted at once, and as many again within `windowS`.
    event MintLimitSet(uint208 capacity, uint48 windowS);

    /// @notice Tokens were minted against that payment before.
    error AlreadyMinted(bytes32 paymentId);

    /// @notice Whether tokens were minted against that payment.
    mapping(bytes32 paymentId => bool minted) public isMintedAgainst;

    RateLimiter.RefillingBucket private _mintBucket;

    /// @notice `admin` hands out the roles and starts with none but its own. There is no limit until one is set.
    constructor(address admin) ERC20("Energy Token", "ENERGY") ERC20Permit("Energy Token") {
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _setMintLimit(type(uint208).max, 1);
    }

    /// @notice Creates `amount` base units for `to`.
    function mint(address to, uint256 amount) external onlyRole(MINTER_ROLE) {
        _mintWithinLimit(to, amount);
    }

    /// @notice Creates `amount` base units for `to` against a payment, for which that can be done once: a minter who
    /// repeats himself after a crash mints nothing twice. `paymentId` is the hash of what names the payment outside.
    function mintAgainst(bytes32 paymentId, address to, uint256 amount) external onlyRole(MINTER_ROLE) {
        if (isMintedAgainst[paymentId]) revert AlreadyMinted(paymentId);
        isMintedAgainst[paymentId] = true;
        emit MintedAgainst(paymentId, to, amount);
        _mintWithinLimit(to, amount);
    }

    /// @notice Lets at most `capacity` base units be minted at once, and as many again within `windowS`. By the admin.
    function setMintLimit(uint208 capacity, uint48 windowS) external onlyRole(DEFAULT_ADMIN_ROLE) {
        // What leaked out until now leaked at the old pace.
        _mintBucket.sync(ALL_MINTERS);
        _setMintLimit(capacity, windowS);
    }

    /// @notice Destroys `amount` base units of the caller's.
    function burn(uint256 amount) external {
        _burn(msg.sender, amount);
    }

    /// @notice Base units that can be minted now.
    function mintable() external view returns (uint256 amount) {
        (, amount) = _mintBucket.state(ALL_MINTERS);
    }

    /// @notice Decimals of an amount.
    function decimals() public pure override returns (uint8) {
        return 9;
    }

    function _mintWithinLimit(address to, uint256 amount) private {
        _mintBucket.consume(ALL_MINTERS, amount);
        _mint(to, amount);
    }

    function _setMintLimit(uint208 capacity, uint48 windowS) private {
        _mintBucket.updateSettings(windowS, capacity);
        emit MintLimitSet(capacity, windowS);
    }
}
